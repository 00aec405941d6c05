"""Encoder of texts that are given as tokens: attention among the tokens of one step, then one learned query."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqel.networks.encoders.attention_block import AttentionBlock, pool_rows
from seqel.spaces import Leaf

__all__ = ["TextTokensEncoder"]

WIDEST = 64  # of a token's vector: there are many per step, so they are kept narrower than the step's
LAYERS = 1


class TextTokensEncoder(nn.Module):
    """A small bidirectional Transformer over a text's tokens, with learned positions, and pooling by attention.

    Code 0 is padding and left out. The text has one learned member besides its tokens, so that an empty text has an
    encoding. The pooled vector is that of Lee et al. 2019, arXiv:1810.00825, with one seed. Half of what is added to the
    step comes from the mean of the tokens' embeddings, which is learned before the attention is.
    """

    def __init__(self, leaf: Leaf, width: int) -> None:
        super().__init__()
        inner = min(width, WIDEST)
        self.table = nn.Embedding(leaf.sizes[0], inner, padding_idx=0)
        self.place = nn.Parameter(torch.randn(leaf.shape[0], inner) * 0.1)
        self.member = nn.Parameter(torch.randn(inner) * 0.5)
        self.layers = nn.ModuleList(AttentionBlock(inner) for _ in range(LAYERS))
        self.seed = nn.Parameter(torch.randn(inner) * 0.5)
        self.pool = AttentionBlock(inner)
        self.norm = nn.LayerNorm(inner)
        self.linear = nn.Linear(inner, width)
        self.bag = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Encode codes (..., length) -> (..., D)."""
        lead, x = x.shape[:-1], x.reshape(-1, x.shape[-1]).long()
        if not torch.compiler.is_compiling() and x.shape[0]:
            x = x[:, : max(1, int((x != 0).sum(dim=1).max()))]  # padding stands at the end
        there = x != 0  # (R, N)
        tokens = self.table(x) * there[..., None]
        placed = tokens + self.place[: x.shape[1]]
        pooled = pool_rows(placed, there, self.member, self.layers, self.seed, self.pool)
        mean = tokens.sum(dim=1) / there.sum(dim=1, keepdim=True).clamp(min=1)
        out: Tensor = self.linear(self.norm(pooled)) + self.bag(mean)
        return out.reshape(*lead, -1)
