"""Functions of a policy head's logits: log-probabilities, and which actions are likely enough.

Logits are (..., M, A). A mask is bool, True = allowed, and has that shape, or size 1 along an axis where it is the same for
all. Networks use these functions to act and losses use them to train, so both import this module.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["log_policy", "mask_out", "support_mask"]


def mask_out(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return x with -inf where the mask forbids. A row that allows nothing (padding) stays as it is, which avoids NaN."""
    return x if mask is None else x.masked_fill(~(mask | ~mask.any(dim=-1, keepdim=True)), -torch.inf)


def log_policy(logits: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return log pi(a | history) over the allowed actions, -inf elsewhere.  (..., M, A) -> (..., M, A)."""
    return mask_out(logits, mask).log_softmax(dim=-1)


def support_mask(logits: Tensor, threshold: float, mask: Tensor | None = None) -> Tensor:
    """Return whether each action is at least `threshold` times as likely as the most likely one, bool (..., M, A).

    A row is never empty unless the mask's row is. Source: Fujimoto et al. 2019, arXiv:1910.01708 (discrete BCQ), eq. 5 f.
    """
    log = log_policy(logits.detach(), mask)
    near: Tensor = log.exp() >= threshold * log.exp().amax(dim=-1, keepdim=True)
    return near if mask is None else near & mask
