"""Encoder of category codes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqel.spaces import Leaf

__all__ = ["CategoriesEncoder"]


class CategoriesEncoder(nn.Module):
    """The sum of one embedding per (element, code): a linear layer over one-hot codes, without building them.

    If several elements have the same codes (for example cards on a table), each code also has an embedding that they share.
    What is learned about a card at one place then holds at every other place.
    """

    offsets: Tensor

    def __init__(self, leaf: Leaf, width: int) -> None:
        super().__init__()
        sizes = torch.tensor(leaf.sizes)
        self.register_buffer("offsets", sizes.cumsum(0) - sizes, persistent=False)
        alike = len(leaf.sizes) > 1 and len(set(leaf.sizes)) == 1
        self.table = nn.Embedding(sum(leaf.sizes), width)
        self.shared = nn.Embedding(leaf.sizes[0], width) if alike else None
        for table in (self.table, self.shared):
            if table is not None:
                nn.init.normal_(table.weight, std=len(leaf.sizes) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.table(x + self.offsets).sum(dim=-2)
        return out if self.shared is None else out + self.shared(x).sum(dim=-2)
