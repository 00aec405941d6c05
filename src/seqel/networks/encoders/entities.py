"""A set of entities -> its part of the step's token: attention among the entities of one step, then one learned query.

The trunk sees one token per step, however many entities there are: memory costs the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqel.networks.encoders.attention_block import AttentionBlock, pool_rows
from seqel.networks.encoders.normalised import Normalised
from seqel.spaces import Leaf

__all__ = ["EntitiesEncoder"]

WIDEST = 32  # of an entity's vector: there are N of them a step, so they are kept narrower than the token
LAYERS = 1


class EntitiesEncoder(Normalised):
    """Encodes a set of rows of features. Absent rows are ignored, and the order has no effect (up to rounding).

    Lee et al. 2019, arXiv:1810.00825 (Set Transformer): self-attention blocks, then pooling by attention with one seed.
    Differs: layer norm comes before each sublayer, as in the trunk; one block, without inducing points; the set has one
    learned member that is always present, so that the empty set has an encoding and every row something to attend to.
    """

    def __init__(self, leaf: Leaf, width: int) -> None:
        super().__init__(leaf)
        inner = min(width, WIDEST)
        self.rows = nn.Linear(leaf.shape[1] - 1, inner)
        self.member = nn.Parameter(torch.randn(inner) * 0.5)
        self.layers = nn.ModuleList(AttentionBlock(inner) for _ in range(LAYERS))
        self.seed = nn.Parameter(torch.randn(inner) * 0.5)
        self.pool = AttentionBlock(inner)
        self.norm = nn.LayerNorm(inner)
        self.linear = nn.Linear(inner, width)

    def statistics(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Of the rows that are present alone.  (M, N, F + 1) float64 -> mean and std (F,)."""
        there = values[values[..., -1] > 0.5][:, :-1]
        return super().statistics(there) if len(there) else (values.new_zeros(there.shape[1]),) * 2

    def forward(self, x: Tensor) -> Tensor:
        """(..., N, F + 1), the last feature 1 where a row is present -> (..., D)."""
        lead = x.shape[:-2]
        x = x.reshape(-1, x.shape[-2], x.shape[-1])
        there = x[..., -1] > 0.5  # (R, N)
        seen = torch.where(there[..., None], x[..., :-1].float(), 0.0)  # a NaN times a weight of 0 would be NaN
        rows = self.rows(self.normalise(seen))
        pooled = pool_rows(rows, there, self.member, self.layers, self.seed, self.pool)
        out: Tensor = self.linear(self.norm(pooled))
        return out.reshape(*lead, -1)
