"""Discrete BCQ: targets do not bootstrap from actions that the policy head finds too unlikely."""

from __future__ import annotations

from torch import Tensor

from seqel.types import QOutput
from seqel.values.policy import support_mask

__all__ = ["supported_actions"]


def supported_actions(online: QOutput, threshold: float, mask: Tensor | None) -> Tensor | None:
    """Narrow the mask, in each dimension, to actions that are likely enough.  mask (B, T+1, M, A), or 1 on an axis, or None.

    With threshold 0, or without a policy head, the mask is returned as it is. Fujimoto et al. 2019, arXiv:1910.01708.
    """
    if threshold == 0.0 or online.policy_logits is None:
        return mask
    return support_mask(online.policy_logits, threshold, mask)
