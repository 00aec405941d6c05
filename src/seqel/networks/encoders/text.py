"""Encoder of texts, given as hashed byte trigrams."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from seqel.spaces import Leaf

__all__ = ["TextEncoder"]


class TextEncoder(nn.Module):
    """The mean of the embeddings of a text's hashed byte trigrams (0 is padding)."""

    def __init__(self, leaf: Leaf, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(leaf.sizes[0], width, padding_idx=0)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1]).long()
        out: Tensor = F.embedding_bag(flat, self.table.weight, mode="mean", padding_idx=0)
        return out.reshape(*x.shape[:-1], -1)
