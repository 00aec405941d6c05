"""What every trunk offers: the network between tokens and head, behind one interface.

    forward(x, first, start)      a window at once       (B, T, D) -> (B, T, D)
    initial_state(batch)          memory of nothing
    step(x, state, rows)          one step               (R, D) -> (R, D), state consumed and returned
    reset(state, rows)            forget, row by row
    prefill(x, first, start, lengths)   the state after a window, in one forward pass

Beside these it declares what it can do, so that no other file asks which trunk it is:

    packs_rows      several episodes in one row of a window cost nothing more
    has_attention   `weights` gives the attention weights
    exportable      `step_pure` is the step as a pure function, and `ring` the shape of its memory
    compiles        compiling the update saves time
    flops           operations of a forward pass

A state is a dict of tensors with an axis of rows (environments or sessions), so that it can be saved and moved without
knowing which trunk made it. `start` is the step number of each window's first step in its episode.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from seqel.errors import ConfigError
from seqel.networks.config import NetworkConfig

__all__ = ["State", "Trunk"]

State = dict[str, Tensor]


class Trunk(nn.Module, ABC):
    """Tokens in, attended (or recurrent) states out."""

    packs_rows: ClassVar[bool]
    has_attention: ClassVar[bool] = False
    exportable: ClassVar[bool] = False
    compiles: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def flops(cls, config: NetworkConfig, rows: float, steps: int) -> float:
        """Floating-point operations of the matrix products in one forward pass over `rows` windows of `steps` steps."""

    @abstractmethod
    def forward(self, x: Tensor, first: Tensor, start: Tensor) -> Tensor:
        """x (B, T, D), first (B, T) bool, start (B,) int64 -> (B, T, D)."""

    @abstractmethod
    def initial_state(self, batch: int, device: torch.device | None = None) -> State:
        """The state of `batch` rows that have seen nothing."""

    @abstractmethod
    def step(self, x: Tensor, state: State, rows: Tensor | None = None) -> tuple[Tensor, State]:
        """x (R, D) -> (R, D). `rows` (R,) int64 says which rows of the state these are; None: all, in order.

        The state is written in place and returned; the rows not named stay as they are.
        """

    def compile_step(self, batch: int) -> None:
        """Compile the step of exactly `batch` rows, where the trunk can; it happens when that step is next taken."""

    @abstractmethod
    def reset(self, state: State, rows: Tensor) -> None:
        """Forget the rows where `rows` (N,) bool is True, in place."""

    @abstractmethod
    def prefill(self, x: Tensor, first: Tensor, start: Tensor, lengths: Tensor) -> State:
        """The state after the first `lengths` (B,) steps of each window, as `step` would have left it."""

    def weights(self, x: Tensor, first: Tensor, start: Tensor) -> Tensor:
        """Attention weights of every layer, (B, layers, H, T, T), rows are queries.

        Raises:
            ConfigError: the trunk has no attention.
        """
        raise ConfigError(f"attention weights: expected a trunk with attention, got {type(self).__name__}")

    def step_pure(self, x: Tensor, keys: Tensor, values: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The step as a function of its arguments and the weights alone, where the trunk is `exportable`.

        x (R, D), keys and values (layers, R, H, C, d), position (R,) -> h (R, D), new keys and values (R, layers, H, d).

        Raises:
            ConfigError: it is not.
        """
        raise ConfigError(f"export: expected a trunk that can be exported, got {type(self).__name__}")

    @property
    def ring(self) -> dict[str, int]:
        """The sizes of an exportable trunk's memory: layers, heads, context, dim.

        Raises:
            ConfigError: it is not exportable.
        """
        raise ConfigError(f"export: expected a trunk that can be exported, got {type(self).__name__}")
