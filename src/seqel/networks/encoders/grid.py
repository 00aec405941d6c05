"""Encoder of grids of category codes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from seqel.spaces import Leaf

__all__ = ["GridEncoder"]

CODE_WIDTH = 8  # width of a grid code's embedding


class GridEncoder(nn.Module):
    """One embedding per channel and code, then one linear layer over the whole grid."""

    offsets: Tensor

    def __init__(self, leaf: Leaf, width: int) -> None:
        super().__init__()
        sizes = torch.tensor(leaf.sizes)
        self.register_buffer("offsets", sizes.cumsum(0) - sizes, persistent=False)
        self.axes = len(leaf.shape)
        self.table = nn.Embedding(sum(leaf.sizes), CODE_WIDTH)
        self.linear = nn.Linear(math.prod(leaf.shape) * CODE_WIDTH, width)

    def forward(self, x: Tensor) -> Tensor:
        codes = x.long()
        codes = codes + self.offsets if self.axes == 3 else codes
        out: Tensor = self.linear(self.table(codes).flatten(-self.axes - 1))
        return out
