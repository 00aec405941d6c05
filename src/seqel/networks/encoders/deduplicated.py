"""An encoder that processes each distinct row of a batch once."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from seqel.spaces import Leaf

__all__ = ["Deduplicated"]

WORTH_COMPARING = 64  # rows; fewer are encoded by a cheap encoder sooner than they are compared


class Deduplicated(nn.Module):
    """Encodes each distinct row of a batch once: the codes of grids and texts repeat, and their encoders are expensive.

    Rows are compared by a 64-bit hash. Every row is encoded if there are only a few, as when an agent acts; and under
    `torch.compile`, because the number of distinct rows depends on the data.
    """

    odd: Tensor

    def __init__(self, leaf: Leaf, encoder: nn.Module, worth_comparing: int = WORTH_COMPARING) -> None:
        super().__init__()
        size = math.prod(leaf.shape)
        generator = torch.Generator().manual_seed(1)
        odd = torch.randint(-(1 << 62), 1 << 62, (size,), generator=generator) * 2 + 1
        self.register_buffer("odd", odd, persistent=False)
        self.axes, self.encoder, self.worth_comparing = len(leaf.shape), encoder, worth_comparing

    def forward(self, x: Tensor) -> Tensor:
        lead = x.shape[: x.ndim - self.axes]
        rows = x.reshape(-1, *x.shape[x.ndim - self.axes :])
        if torch.compiler.is_compiling() or len(rows) < self.worth_comparing:
            out: Tensor = self.encoder(rows)
            return out.reshape(*lead, -1)
        key = (rows.flatten(1).long() * self.odd).sum(dim=1)
        distinct, inverse = torch.unique(key, return_inverse=True)
        some = torch.empty_like(distinct).scatter_(0, inverse, torch.arange(len(rows), device=x.device))
        encoded: Tensor = self.encoder(rows[some])
        return encoded[inverse].reshape(*lead, -1)
