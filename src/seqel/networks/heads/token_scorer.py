"""Numbers for every token of a pretrained language model, by its own table of tokens.

The number of a token is the product of its row in the table with a vector that is computed from the state. A head with an
output per token would have as many weights as the table; this one has as many as two thin matrices.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seqel.pretrained.tables import Tables

__all__ = ["TokenScorer"]

RANK = 16


class TokenScorer(nn.Module):
    """out(a, k) = table(a) . (last(down(h)))_k, and for a policy, what the model itself says: + table(a) . h.

    The table is shared and not trained. `last` is zero at first, so a policy begins as the language model.
    """

    def __init__(self, tables: Tables, width: int, outputs: int, starts_as_model: bool) -> None:
        super().__init__()
        self.tables, self.outputs, self.starts_as_model = tables, outputs, starts_as_model
        self.down = nn.Linear(width, RANK, bias=False)
        self.last = nn.Linear(RANK, outputs * width)
        self.width = width

    def forward(self, h: Tensor, candidates: Tensor | None = None) -> Tensor:
        """Score: h (..., D) -> (..., A, outputs); with candidates (..., C), numbers of tokens: (..., C, outputs)."""
        table = self.tables.outputs(h.device)
        vectors = self.last(torch.nn.functional.gelu(self.down(h))).unflatten(-1, (self.outputs, self.width))
        vectors = vectors * self.width**-0.5
        if self.starts_as_model:
            vectors = vectors + h[..., None, :]
        if candidates is None:
            return torch.einsum("...kd,ad->...ak", vectors, table)
        return torch.einsum("...kd,...cd->...ck", vectors, torch.nn.functional.embedding(candidates, table))
