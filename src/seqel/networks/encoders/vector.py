"""Encoder of vectors of numbers."""

from __future__ import annotations

from torch import Tensor, nn

from seqel.networks.encoders.normalised import Normalised
from seqel.networks.layers import linear
from seqel.spaces import Leaf

__all__ = ["VectorEncoder"]


class VectorEncoder(Normalised):
    """One linear layer over normalised numbers."""

    def __init__(self, leaf: Leaf, width: int) -> None:
        super().__init__(leaf)
        self.linear = nn.Linear(len(leaf.low), width)

    def forward(self, x: Tensor) -> Tensor:
        return linear(self.linear, self.normalise(x))
