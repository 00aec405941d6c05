"""What the logits of a policy head say: log-probabilities, and which actions are likely enough.

Logits are (..., M, A); a mask is bool, True = allowed, of that shape or 1 where it is the same for all. Networks act by these
and losses learn by them, so they stand below both.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["log_policy", "mask_out", "support_mask"]


def mask_out(x: Tensor, mask: Tensor | None) -> Tensor:
    """x, -inf where the mask forbids. A row that allows nothing (padding) stays as it is, so that nothing is NaN."""
    return x if mask is None else x.masked_fill(~(mask | ~mask.any(dim=-1, keepdim=True)), -torch.inf)


def log_policy(logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """log pi(a | history) over the allowed actions; -inf elsewhere.  (..., M, A) -> (..., M, A)."""
    return mask_out(logits, mask).log_softmax(dim=-1)


def support_mask(logits: Tensor, threshold: float, mask: Tensor | None = None) -> Tensor:
    """Whether an action is at least `threshold` times as likely as the likeliest one, bool (..., M, A).

    Never empty where the mask is not. Source: Fujimoto et al. 2019, arXiv:1910.01708 (discrete BCQ), eq. 5 f.
    """
    log = log_policy(logits.detach(), mask)
    near: Tensor = log.exp() >= threshold * log.exp().amax(dim=-1, keepdim=True)
    return near if mask is None else near & mask
