"""Causal self-attention over the last `context` steps: for a whole window, or for one step with a ring of keys.

Step i attends to the steps j of its own episode with i - context < j <= i. Training (`banded_attention`) and acting
(`ring_attention`) compute the same sums, so a cached step equals the full forward pass. Keys are stored after rotation
by their step number, so their order in the ring does not matter.

Rotary embedding: Su et al. 2021, arXiv:2104.09864. Differs: angles are computed in float64 from the step number in the
episode, so that step 10,000 of a long episode is as exact as step 10.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "attention_weights",
    "banded_attention",
    "banded_causal_mask",
    "frequencies",
    "phase_cosines",
    "ring_attention",
    "ring_bias",
    "ring_empty",
    "rotary",
    "rotate",
    "written_ring_attention",
]


def frequencies(dim: int, base: float) -> Tensor:
    """Return the frequency of each pair in radians per step, geometric from 1 to 1 / base.  -> (dim / 2,) float64."""
    return base ** -(torch.arange(0, dim, 2, dtype=torch.float64) / dim)


def phase_cosines(position: Tensor, frequency: Tensor, phase: Tensor) -> Tensor:
    """Return cos(position x frequency + phase).  position (...) int64, the others (n,) float64 -> (..., n) float32."""
    return torch.addcmul(phase, position[..., None], frequency).cos().float()


def rotary(dim: int, base: float) -> tuple[Tensor, Tensor]:
    """Return frequencies and phases whose `phase_cosines` are the two factors of `rotate`.  -> two (2 dim,) float64.

    A sine is a cosine shifted by a quarter turn, so one call computes all factors for every layer.
    """
    once = frequencies(dim, base)
    quarter = torch.full_like(once, math.pi / 2)
    none = torch.zeros_like(once)
    return once.repeat(4), torch.cat((none, none, quarter, -quarter))  # cos, cos, -sin, sin


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs (x[..., i], x[..., i + dim/2]) by their angle.  x (..., dim); cos (..., dim): the cosines,
    twice; sin (..., dim): the negative sines, then the sines.
    """
    left, right = x.chunk(2, dim=-1)
    return torch.addcmul(x * cos, torch.cat((right, left), dim=-1), sin)


def banded_causal_mask(first: Tensor, context: int) -> Tensor:
    """Return the attention mask: first (B, T) bool -> (B, 1, T, T) bool, True where query i (row) sees key j (column)."""
    steps = torch.arange(first.shape[1], device=first.device)
    distance = steps[:, None] - steps[None, :]
    near = (distance >= 0) & (distance < context)
    episode = first.cumsum(dim=1)
    same = episode[:, :, None] == episode[:, None, :]
    mask: Tensor = (near & same)[:, None]
    return mask


def banded_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, dropout: float = 0.0) -> Tensor:
    """Compute attention over a window.  q, k, v (B, H, T, d), mask (B, 1, T, T) bool -> (B, H, T, d).

    On a CPU the backward pass of the fused kernel is slow in bf16, so there the sums are written out (and compiled).
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        weights = F.dropout(attention_weights(q, k, mask).to(v.dtype), dropout, dropout > 0.0)
        written: Tensor = weights @ v
        return written
    out: Tensor = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
    return out


def attention_weights(q: Tensor, k: Tensor, mask: Tensor) -> Tensor:
    """Return the weights that `banded_attention` uses, for explanations.  -> (B, H, T, T), rows sum to 1."""
    scores: Tensor = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
    return scores.masked_fill(~mask, -torch.inf).softmax(dim=-1)


def ring_empty(position: Tensor, context: int) -> Tensor:
    """Return which slots of the ring the step at `position` must not see.  (R,) int64 -> (R, 1, context) bool.

    Slot s holds the latest step j < position with j % context == s. All of them are within `context`, except the one in
    the slot about to be overwritten, which is exactly `context` steps old.
    """
    slots = torch.arange(context, device=position.device)
    at = position[:, None, None]
    empty: Tensor = (slots >= at) | (slots == at % context)
    return empty


def ring_attention(q: Tensor, k: Tensor, v: Tensor, keys: Tensor, values: Tensor, empty: Tensor) -> Tensor:
    """Attend from one step to the ring and to the step itself, without writing anything.

    q, k, v (R, H, d) of the new step; keys, values (R, H, C, d) of the ring; empty (R, 1, C) bool, the slots that it must
    not see -> (R, H, d).
    """
    q = q * q.shape[-1] ** -0.5
    scores = torch.matmul(q.unsqueeze(-2), keys.mT).squeeze(-2).masked_fill(empty, -torch.inf)  # (R, H, C)
    own = (q * k).sum(-1, keepdim=True)  # (R, H, 1)
    weights = torch.cat((scores, own), dim=-1).softmax(dim=-1)
    past, now = weights[..., :-1], weights[..., -1:]
    return torch.addcmul(torch.matmul(past.unsqueeze(-2), values).squeeze(-2), now, v)


def ring_bias(position: NDArray[np.int64], heads: int, slots: int) -> NDArray[np.float32]:
    """Return what is added to the scores once the step at `position` is in the ring: 0 for slots that hold a step of its
    episode, -inf for those not written yet.  (R,) -> (R H, 1, slots).
    """
    bias = np.where(np.arange(slots) > position[:, None], np.float32(-np.inf), np.float32(0.0))
    return bias.repeat(heads, axis=0)[:, None]


def written_ring_attention(q: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
    """Attend from one step to a ring that its own key and value are already in: the sums of `ring_attention`, in half the
    operations.

    q (R, H, d), keys and values (R H, C, d), bias (R H, 1, C) of `ring_bias` -> (R, H d). No slot may hold NaN, not even one
    that is not seen.
    """
    alone = q.reshape(-1, 1, q.shape[-1])  # one product for each row and head
    weights = torch.baddbmm(bias, alone, keys.mT, alpha=q.shape[-1] ** -0.5).softmax(dim=-1)
    return torch.bmm(weights, values).view(len(q), -1)
