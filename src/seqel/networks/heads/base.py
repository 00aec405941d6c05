"""The interface of a head other than the Q head, which adds one field to `QOutput`, and heads with a number per action."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from seqel.networks.config import NetworkConfig
from seqel.networks.heads.outputs import action_layer, action_outputs, last_layer
from seqel.spaces import ActionSpec

__all__ = ["ActionHead", "Head"]


class Head(nn.Module, ABC):
    """A module from attended states to one field of `QOutput`."""

    @abstractmethod
    def forward(self, h: Tensor, scale: Tensor, candidates: Tensor | None = None) -> Tensor:
        """h (..., D), scale () the unit of values -> the field's tensor; with candidates (..., C), only for these."""

    def rescale(self, ratio: Tensor) -> None:
        """Make the unit 1 / ratio times as large. The default does nothing, for heads without a unit."""


class ActionHead(Head):
    """One number for every action, 0 at first. `unit` is the size of one output."""

    unit: ClassVar[float] = 1.0
    is_policy: ClassVar[bool] = False

    def __init__(self, action: ActionSpec, config: NetworkConfig) -> None:
        super().__init__()
        self.actions, self.dims = action.actions, action.dims
        self.linear = action_layer(action, config, action.dims, 1, self.is_policy)
        nn.init.zeros_(last_layer(self.linear).weight)
        nn.init.zeros_(last_layer(self.linear).bias)

    def forward(self, h: Tensor, scale: Tensor | None = None, candidates: Tensor | None = None) -> Tensor:
        """h (..., D) -> (..., M, A) float32; with candidates (..., C), (..., M, C). Not in the unit of the reward."""
        out = action_outputs(self.linear, h, candidates, self.actions, self.dims, 1)[..., 0].float()
        return out if self.unit == 1.0 else out * self.unit
