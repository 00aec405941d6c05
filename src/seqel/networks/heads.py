"""Attended state -> one value an action: all actions at once or dueling, scalar or as a classification.

Values leave the head in units of reward: the network's own numbers times `scale`, a running size of the returns. The
last layer starts at zero, so that every value does, and nothing the untrained network imagines is learnt from.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqel.losses.distributional import HLGauss
from seqel.networks.config import NetworkConfig
from seqel.spaces import ActionSpec
from seqel.types import QOutput

__all__ = ["QHead"]


class QHead(nn.Module):
    """Q(s, .) for every action dimension.

    Dueling: Wang et al. 2016, arXiv:1511.06581 (value + advantage - mean advantage, on the logits where these are
    classified). HL-Gauss: Farebrother et al. 2024, arXiv:2403.03950; the support reaches `value_range` return scales.
    """

    scale: Tensor

    def __init__(self, action: ActionSpec, config: NetworkConfig) -> None:
        super().__init__()
        self.dims, self.actions = action.dims, action.actions
        self.histogram: HLGauss | None = None
        if config.value == "hl-gauss":
            self.histogram = HLGauss(config.bins, -config.value_range, config.value_range)
        self.outputs = 1 if self.histogram is None else config.bins
        self.advantage = nn.Linear(config.width, self.dims * self.actions * self.outputs)
        self.value = nn.Linear(config.width, self.dims * self.outputs) if config.dueling else None
        self.register_buffer("scale", torch.ones(()))
        for layer in self._layers():
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def _layers(self) -> list[nn.Linear]:
        return [self.advantage] if self.value is None else [self.advantage, self.value]

    def forward(self, h: Tensor) -> QOutput:
        """h (..., D) -> q (..., M, A) float32, and logits (..., M, A, bins) where they exist."""
        out = self.advantage(h).unflatten(-1, (self.dims, self.actions, self.outputs))
        if self.value is not None:
            value = self.value(h).unflatten(-1, (self.dims, 1, self.outputs))
            out = value + out - out.mean(dim=-2, keepdim=True)
        out = out.float()
        if self.histogram is None:
            return QOutput(q=out[..., 0] * self.scale)
        return QOutput(q=self.histogram.expectation(out) * self.scale, logits=out)

    @torch.no_grad()
    def rescale(self, scale: float) -> None:
        """Change the unit. Scalar values stay exactly what they were; a classified one is stretched with its support."""
        if self.histogram is None:
            for layer in self._layers():
                layer.weight.mul_(self.scale / scale)
                layer.bias.mul_(self.scale / scale)
        self.scale.fill_(scale)
