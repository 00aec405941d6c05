"""The policy head: logits of the recorded action, given the attended state."""

from __future__ import annotations

from torch import Tensor, nn

from seqel.networks.config import NetworkConfig
from seqel.networks.heads.base import Head
from seqel.networks.heads.outputs import action_layer, action_outputs, last_layer
from seqel.spaces import ActionSpec

__all__ = ["PolicyHead"]


class PolicyHead(Head):
    """Logits of every action. Dimensions are independent given the history; the policy is uniform at first."""

    def __init__(self, action: ActionSpec, config: NetworkConfig) -> None:
        super().__init__()
        self.actions, self.dims = action.actions, action.dims
        self.linear = action_layer(action, config, action.dims, 1)
        nn.init.zeros_(last_layer(self.linear).weight)
        nn.init.zeros_(last_layer(self.linear).bias)

    def forward(self, h: Tensor, scale: Tensor | None = None, candidates: Tensor | None = None) -> Tensor:
        """h (..., D) -> (..., M, A) float32; with candidates (..., C), (..., M, C)."""
        return action_outputs(self.linear, h, candidates, self.actions, self.dims, 1)[..., 0].float()
