"""Causal self-attention over a band of the last `context` steps: over a whole window, or one step with a ring of keys.

Step i attends to the steps j of its own episode with i - context < j <= i. Training (`banded_attention`) and acting
(`ring_attention`) compute the same sums, so a cached step equals the full forward pass. Keys are stored already
rotated by their step number, so their order in the ring does not matter.

Rotary embedding: Su et al. 2021, arXiv:2104.09864. Differs: angles come from the episode's step number and are computed
in float64, so that step 10,000 of a long episode is as exact as step 10.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "attention_weights",
    "banded_attention",
    "banded_causal_mask",
    "frequencies",
    "phase_cosines",
    "ring_attention",
    "ring_empty",
    "rotary",
    "rotate",
]


def frequencies(dim: int, base: float) -> Tensor:
    """Radians a step of each pair, geometric from 1 to 1 / base.  -> (dim / 2,) float64."""
    return base ** -(torch.arange(0, dim, 2, dtype=torch.float64) / dim)


def phase_cosines(position: Tensor, frequency: Tensor, phase: Tensor) -> Tensor:
    """cos(position x frequency + phase).  position (...) int64, the others (n,) float64 -> (..., n) float32."""
    return torch.addcmul(phase, position[..., None], frequency).cos().float()


def rotary(dim: int, base: float) -> tuple[Tensor, Tensor]:
    """Frequencies and phases whose `phase_cosines` are the two factors of `rotate` side by side.  -> two (2 dim,) float64.

    A sine is a cosine a quarter turn late, so one call makes all the factors, for every layer.
    """
    once = frequencies(dim, base)
    quarter = torch.full_like(once, math.pi / 2)
    none = torch.zeros_like(once)
    return once.repeat(4), torch.cat((none, none, quarter, -quarter))  # cos, cos, -sin, sin


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (x[..., i], x[..., i + dim/2]) by their angle.  x (..., dim), cos (..., dim): twice the
    cosines; sin (..., dim): the negative sines, then the sines.
    """
    left, right = x.chunk(2, dim=-1)
    return torch.addcmul(x * cos, torch.cat((right, left), dim=-1), sin)


def banded_causal_mask(first: Tensor, context: int) -> Tensor:
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


def ring_empty(position: Tensor, context: int) -> Tensor:
    """Which slots of the ring hold nothing that the step at `position` may see.  (R,) int64 -> (R, 1, context) bool.

    Slot s holds the latest step j < position with j % context == s. All of those lie in the band but the one in the
    slot about to be overwritten, which is exactly `context` steps old.
    """
    slots = torch.arange(context, device=position.device)
    at = position[:, None, None]
    empty: Tensor = (slots >= at) | (slots == at % context)
    return empty


def ring_attention(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, empty: Tensor) -> Tensor:
    """One step attends to the ring and to itself, without writing anything.

    q, k, v (R, H, d) of the new step; keys, values (R, H, C, d) the ring; empty (R, 1, C) bool, the slots that hold
    nothing it may see -> (R, H, d).
    """
    q = q * q.shape[-1] ** -0.5
    scores = torch.matmul(q.unsqueeze(-2), keys.mT).squeeze(-2).masked_fill(empty, -torch.inf)  # (R, H, C)
    own = (q * k).sum(-1, keepdim=True)  # (R, H, 1)
    weights = torch.cat((scores, own), dim=-1).softmax(dim=-1)
    past, now = weights[..., :-1], weights[..., -1:]
    return torch.addcmul(torch.matmul(past.unsqueeze(-2), values).squeeze(-2), now, v)
