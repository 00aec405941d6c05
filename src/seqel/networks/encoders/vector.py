"""Encoder of vectors of numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqel.spaces import Leaf

__all__ = ["VectorEncoder"]

BOUND_LIMIT = 1e4  # wider bounds say nothing about the values that occur
CLIP = 10.0  # normalised values are kept within this many standard deviations


class VectorEncoder(nn.Module):
    """Encodes numbers, scaled by their bounds if they have any, else by statistics that are fixed after a warm-up."""

    mean: Tensor
    scale: Tensor
    bounded: Tensor

    def __init__(self, leaf: Leaf, width: int) -> None:
        super().__init__()
        low, high = torch.tensor(leaf.low, dtype=torch.float64), torch.tensor(leaf.high, dtype=torch.float64)
        bounded = (low > -BOUND_LIMIT) & (high < BOUND_LIMIT) & (high > low)
        middle = torch.where(bounded, (low + high) / 2, 0.0)
        half = torch.where(bounded, (high - low) / 2, 1.0)
        self.register_buffer("mean", middle.float())
        self.register_buffer("scale", half.float())
        self.register_buffer("bounded", bounded)
        self.linear = nn.Linear(len(leaf.low), width)

    def observe(self, mean: Tensor, std: Tensor) -> None:
        """Set the statistics of a warm-up.  mean, std (n,); a value that never varied is only centred."""
        std = torch.where(std > 1e-6, std, 1.0)
        self.mean.copy_(torch.where(self.bounded, self.mean, mean.float()))
        self.scale.copy_(torch.where(self.bounded, self.scale, std.float()))

    def normalise(self, x: Tensor) -> Tensor:
        """Scale and clip the numbers: x (..., n), any dtype -> (..., n) float32."""
        return ((x.float() - self.mean) / self.scale).clamp(-CLIP, CLIP)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(self.normalise(x))
        return out
