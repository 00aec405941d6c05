"""What every trunk offers: the network between tokens and head, behind one interface.

    forward(x, first, start)      a window at once       (B, T, D) -> (B, T, D)
    initial_state(batch)          memory of nothing
    step(x, state, rows)          one step               (R, D) -> (R, D), state consumed and returned
    reset(state, rows)            forget, row by row
    prefill(x, first, start, lengths)   the state after a window, in one forward pass

A state is a dict of tensors with an axis of rows (environments or sessions), so that it can be saved and moved without
knowing which trunk made it. `start` is the step number of each window's first step in its episode.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from seqel.networks.config import NetworkConfig

__all__ = ["State", "Trunk", "make_trunk"]

State = dict[str, Tensor]


class Trunk(nn.Module, ABC):
    """Tokens in, attended (or recurrent) states out."""

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


def make_trunk(config: NetworkConfig) -> Trunk:
    """The trunk that `config.trunk` names."""
    if config.trunk == "gru":
        from seqel.networks.trunks.gru import GRUTrunk

        return GRUTrunk(config)
    from seqel.networks.trunks.transformer import Transformer

    return Transformer(config)
