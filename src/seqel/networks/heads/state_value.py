"""The state-value head: V(s), which does not depend on an action."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqel.networks.config import NetworkConfig
from seqel.networks.heads.base import Head
from seqel.spaces import ActionSpec

__all__ = ["StateValueHead"]


class StateValueHead(Head):
    """V(s), in the unit of the Q head; 0 at first. One number, however many dimensions an action has."""

    def __init__(self, action: ActionSpec, config: NetworkConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(config.width, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, h: Tensor, scale: Tensor, candidates: Tensor | None = None) -> Tensor:
        """h (..., D) -> (...) float32, in units of reward."""
        out: Tensor = self.linear(h)[..., 0].float() * scale
        return out

    @torch.no_grad()
    def rescale(self, ratio: Tensor) -> None:
        """Make the unit 1 / ratio times as large; the values do not change."""
        self.linear.weight.mul_(ratio)
        self.linear.bias.mul_(ratio)
