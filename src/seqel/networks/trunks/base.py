"""The interface of a trunk: the network between tokens and heads.

    forward(x, first, start)      a whole window         (B, T, D) -> (B, T, D)
    initial_state(batch)          the empty state
    step(x, state, rows)          one step               (R, D) -> (R, D), state consumed and returned
    reset(state, rows)            forget selected rows
    prefill(x, first, start, lengths)   the state after a window, in one forward pass

A trunk also declares what it can do, so that no other file tests which trunk it is:

    packs_rows      several episodes in one row of a window cost nothing extra
    has_attention   `weights` returns the attention weights
    exportable      `step_pure` is the step as a pure function, which can be exported; `remember` writes what it returns, and
                    `memory` gives the shape of the memory
    compiles        compiling the update, and the step if it is `exportable`, saves time
    row_axes        which axis of each tensor of the state is that of rows
    receptive_field how many of the latest steps decide the state
    flops           operations of a forward pass

A state is a dict of tensors with an axis of rows (one per environment or episode), so that it can be saved and moved without
knowing which trunk made it. `start` is the number, within its episode, of each window's first step.
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
    """A module from tokens to attended (or recurrent) states."""

    packs_rows: ClassVar[bool]
    has_attention: ClassVar[bool] = False
    exportable: ClassVar[bool] = False
    row_axes: ClassVar[dict[str, int]]  # of each tensor of the state
    compiles: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def flops(cls, config: NetworkConfig, rows: float, steps: int) -> float:
        """Return the FLOPs of the matrix products in one forward pass over `rows` windows of `steps` steps."""

    @abstractmethod
    def forward(self, x: Tensor, first: Tensor, start: Tensor) -> Tensor:
        """Process a whole window: x (B, T, D), first (B, T) bool, start (B,) int64 -> (B, T, D)."""

    @abstractmethod
    def initial_state(self, batch: int, device: torch.device | None = None) -> State:
        """Return the empty state of `batch` rows."""

    @abstractmethod
    def step(self, x: Tensor, state: State, rows: Tensor | None = None) -> tuple[Tensor, State]:
        """Process one step: x (R, D) -> (R, D). `rows` (R,) int64 are its rows of the state; None: all, in order.

        The state is written in place and returned; other rows do not change.
        """

    @abstractmethod
    def reset(self, state: State, rows: Tensor) -> None:
        """Reset the rows where `rows` (N,) bool is True, in place."""

    @abstractmethod
    def prefill(self, x: Tensor, first: Tensor, start: Tensor, lengths: Tensor) -> State:
        """Return the state after the first `lengths` (B,) steps of each window, as `step` would have left it."""

    @property
    @abstractmethod
    def receptive_field(self) -> int:
        """The latest steps of an episode that decide the state exactly; 0: all of them."""

    def replace_rows(self, state: State, rows: Tensor, other: State) -> None:
        """Replace rows (R,) of a state by the R rows of another one, in place."""
        for name, tensor in state.items():
            tensor.index_copy_(self.row_axes[name], rows, other[name].to(tensor.dtype))

    def weights(self, x: Tensor, first: Tensor, start: Tensor) -> Tensor:
        """Return the attention weights of every layer, (B, layers, H, T, T); rows are queries.

        Raises:
            ConfigError: the trunk has no attention.
        """
        raise ConfigError(f"attention weights: expected a trunk with attention, got {type(self).__name__}")

    def step_pure(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Compute the step as a function of its arguments and the weights alone, if the trunk is `exportable`.

        x (R, D), the state of R rows -> h (R, D), and what `remember` writes, by the names of the state.

        Raises:
            ConfigError: the trunk is not exportable.
        """
        raise ConfigError(f"export: expected a trunk that can be exported, got {type(self).__name__}")

    def remember(self, state: State, new: State) -> None:
        """Write what `step_pure` returned for every row into the state.

        Raises:
            ConfigError: the trunk is not exportable.
        """
        raise ConfigError(f"export: expected a trunk that can be exported, got {type(self).__name__}")

    @property
    def memory(self) -> dict[str, dict[str, int]]:
        """Return the kind of an exportable trunk's memory and its sizes, as `seqel.deployment.layouts` reads them.

        Raises:
            ConfigError: the trunk is not exportable.
        """
        raise ConfigError(f"export: expected a trunk that can be exported, got {type(self).__name__}")
