"""Causal self-attention over a band of the last `context` steps: over a whole window, or one step with a ring of keys.

Step i attends to the steps j of its own episode with i - context < j <= i. Training (`banded_attention`) and acting
(`ring_attention`) compute the same sums, so a cached step equals the full forward pass. Keys are stored already
rotated by their step number, so their order in the ring does not matter.

Rotary embedding: Su et al. 2021, arXiv:2104.09864. Differs: angles come from the episode's step number and are computed
in float64, so that step 10,000 of a long episode is as exact as step 10.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "attention_weights",
    "band",
    "banded_attention",
    "frequencies",
    "ring_attention",
    "ring_valid",
    "rotary",
    "rotate",
]


def frequencies(dim: int, base: float) -> Tensor:
    """Radians a step of each pair, geometric from 1 to 1 / base.  -> (dim / 2,) float64."""
    return base ** -(torch.arange(0, dim, 2, dtype=torch.float64) / dim)


def rotary(position: Tensor, frequency: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the rotary angles.  position (...) int64, frequency (n,) float64 -> two (..., n) float32."""
    angle = position[..., None] * frequency
    return angle.cos().float(), angle.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (x[..., i], x[..., i + dim/2]) by their angle.  x (..., dim), cos and sin (..., dim / 2)."""
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    left, right = x.chunk(2, dim=-1)
    return torch.cat((left * cos - right * sin, right * cos + left * sin), dim=-1)


def band(first: Tensor, context: int) -> Tensor:
    """Who sees whom.  first (B, T) bool -> (B, 1, T, T) bool, True where query i (rows) sees key j (columns)."""
    steps = torch.arange(first.shape[1], device=first.device)
    distance = steps[:, None] - steps[None, :]
    near = (distance >= 0) & (distance < context)
    episode = first.cumsum(dim=1)
    same = episode[:, :, None] == episode[:, None, :]
    mask: Tensor = (near & same)[:, None]
    return mask


def banded_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, dropout: float = 0.0) -> Tensor:
    """Attention over a window.  q, k, v (B, H, T, d), mask (B, 1, T, T) bool -> (B, H, T, d).

    On a CPU the fused kernel is slow backwards in bf16, so there the sums are written out (and a compiler fuses them).
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        weights = F.dropout(attention_weights(q, k, mask).to(v.dtype), dropout, dropout > 0.0)
        written: Tensor = weights @ v
        return written
    out: Tensor = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
    return out


def attention_weights(q: Tensor, k: Tensor, mask: Tensor) -> Tensor:
    """The weights that `banded_attention` uses, for explanations.  -> (B, H, T, T), rows sum to 1."""
    scores: Tensor = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
    return scores.masked_fill(~mask, -torch.inf).softmax(dim=-1)


def ring_valid(position: Tensor, context: int) -> Tensor:
    """Which slots of the ring hold a step that the step at `position` may see.  (R,) int64 -> (R, context) bool.

    Slot s holds the latest step j < position with j % context == s. All of those lie in the band but the one in the
    slot about to be overwritten, which is exactly `context` steps old.
    """
    slots = torch.arange(context, device=position.device)
    filled = slots[None] < position[:, None]
    valid: Tensor = filled & (slots[None] != position[:, None] % context)
    return valid


def ring_attention(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, valid: Tensor) -> Tensor:
    """One step attends to the ring and to itself, without writing anything.

    q, k, v (R, H, d) of the new step; keys, values (R, H, C, d) the ring; valid (R, C) bool -> (R, H, d).
    """
    scale = q.shape[-1] ** -0.5
    scores = (q[..., None, :] @ keys.transpose(-1, -2))[..., 0, :]  # (R, H, C)
    scores = scores.masked_fill(~valid[:, None], -torch.inf)
    own = (q * k).sum(-1, keepdim=True)  # (R, H, 1)
    weights = (torch.cat((scores, own), dim=-1) * scale).softmax(dim=-1)
    past = (weights[..., None, :-1] @ values)[..., 0, :]
    out: Tensor = past + weights[..., -1:] * v
    return out
