"""A block of attention within one step, for encoders that see many vectors per step: entities, the tokens of a text."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["AttentionBlock", "pool_rows"]


class AttentionBlock(nn.Module):
    """Attention of some rows to others, then a small MLP, each with the norm before it and a residual around it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(n for n in (1, 2, 4) if width % n == 0)
        self.before = nn.LayerNorm(width)
        self.of = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor, others: Tensor, keys: Tensor) -> Tensor:
        """x (R, Q, D) attends to others (R, K, D) where keys (R, 1, 1, K) -> (R, Q, D)."""
        query = self._split(self.query(self.before(x)))
        key, value = (self._split(part) for part in self.key_value(self.of(others)).chunk(2, dim=-1))
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=keys)
        x = x + self.out(found.transpose(1, 2).flatten(2))
        out: Tensor = x + self.mlp(x)
        return out

    def _split(self, x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], self.heads, x.shape[2] // self.heads).transpose(1, 2)  # (R, H, Q, d)


def pool_rows(
    rows: Tensor, there: Tensor, member: Tensor, layers: nn.ModuleList, seed: Tensor, pool: AttentionBlock
) -> Tensor:
    """Attend among the rows that exist and a member that is always present, then read one vector with a learned seed.

    rows (R, N, D), there (R, N) bool, member and seed (D,) -> (R, D).
    """
    keys = F.pad(there, (1, 0), value=True)[:, None, None]  # (R, 1, 1, 1 + N)
    h = torch.cat((member.to(rows.dtype).expand(rows.shape[0], 1, -1), rows), dim=1)  # (R, 1 + N, D)
    for layer in layers:
        h = layer(h, h, keys)
    pooled: Tensor = pool(seed.to(h.dtype).expand(rows.shape[0], 1, -1), h, keys)[:, 0]
    return pooled
