"""The novelty head: how many observations that are new in the episode each action leads to."""

from __future__ import annotations

from torch import Tensor, nn

from seqel.networks.config import NetworkConfig
from seqel.networks.heads.base import Head
from seqel.networks.heads.outputs import action_layer, action_outputs, last_layer
from seqel.spaces import ActionSpec

__all__ = ["NoveltyHead"]

UNIT = 10.0  # observations: the size of one output, so that usual values are reached with weights of usual size


class NoveltyHead(Head):
    """The discounted sum of novelty after each action (`losses/terms/novelty.py`), in observations; 0 at first."""

    def __init__(self, action: ActionSpec, config: NetworkConfig) -> None:
        super().__init__()
        self.actions, self.dims = action.actions, action.dims
        self.linear = action_layer(action, config, action.dims, 1)
        nn.init.zeros_(last_layer(self.linear).weight)
        nn.init.zeros_(last_layer(self.linear).bias)

    def forward(self, h: Tensor, scale: Tensor | None = None, candidates: Tensor | None = None) -> Tensor:
        """h (..., D) -> (..., M, A) float32; with candidates (..., C), (..., M, C). Its unit is not that of the reward."""
        return action_outputs(self.linear, h, candidates, self.actions, self.dims, 1)[..., 0].float() * UNIT
