"""Temporal-difference building blocks: masked maxima, bootstraps of Q and double Q, and the value of a joint action.

q is (..., M, A): M action dimensions (1 for Discrete), A actions. The value of an action with several dimensions is the mean
of the values of its parts, Q(s, a) = 1/M sum_m Q_m(s, a_m), so its maximum is the mean of the maxima (decoupled Q-networks:
Seyde et al. 2023, arXiv:2210.12566). A mask is bool, True = allowed, for each action of each dimension at that observation.
Padding often has a mask that allows nothing. To raise an error there, the host would have to wait for the device at every
update. Instead, such a row gets the value 0 and the action 0, and `masked_mean` drops it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seqel.losses.shapes import require_bool

__all__ = [
    "action_values",
    "double_q_bootstrap",
    "gather_actions",
    "masked_argmax",
    "masked_max",
    "masked_mean",
    "mean_over_dimensions",
    "q_bootstrap",
]


def masked_max(q: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the largest allowed value over the last axis: q (..., A), mask (..., A) or None -> (...).

    The mask has q's shape, or size 1 along an axis where it is the same for all. A row that allows nothing gives 0.

    Raises ValueError if the mask does not fit q or is not bool.
    """
    if mask is None:
        return q.amax(-1)
    best = _forbid(q, mask).amax(-1)
    return torch.where(mask.any(-1), best, torch.zeros_like(best))


def masked_argmax(q: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the best allowed action over the last axis, int64: q (..., A), mask (..., A) or None -> (...).

    A row that allows nothing gives action 0.

    Raises ValueError if the mask does not fit q or is not bool.
    """
    if mask is None:
        return q.argmax(-1)
    return _forbid(q, mask).argmax(-1)  # the first of equal values, so 0 where all are -inf


def gather_actions(q: Tensor, action: Tensor) -> Tensor:
    """Return the value of the action taken: q (..., M, A), action (..., M) int64 -> (..., M).

    Raises ValueError unless action has the shape of q without its last axis and is int64.
    """
    if q.shape[:-1] != action.shape:
        raise ValueError(f"expected action {tuple(q.shape[:-1])} for q {tuple(q.shape)}; got {tuple(action.shape)}")
    if action.dtype != torch.int64:
        raise ValueError(f"expected action to be int64; got {action.dtype}")
    return q.gather(-1, action.unsqueeze(-1)).squeeze(-1)


def mean_over_dimensions(x: Tensor) -> Tensor:
    """Return the value of a joint action from the values of its parts: (..., M) -> (...)."""
    return x[..., 0] if x.shape[-1] == 1 else x.mean(-1)


def action_values(q: Tensor, action: Tensor) -> Tensor:
    """Return Q(s, a) of joint actions.  q (B, T, M, A), or (B, T, K, M, A) for K policies, action (B, T, M) -> (B, T, K).

    K is 1 if q has no such axis. Raises ValueError as `gather_actions` does.
    """
    if q.ndim == 4:
        return mean_over_dimensions(gather_actions(q, action))[..., None]
    return mean_over_dimensions(gather_actions(q, action[:, :, None].expand(-1, -1, q.shape[2], -1)))


def q_bootstrap(q_target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the target network's largest allowed value at steps 1..T: what Q-learning (DQN) bootstraps from.

    q_target (B, T+1, M, A), mask (B, T+1, M, A) or None -> (B, T, M), so that entry t is the value of observation t + 1.
    The result carries no gradient. Source: Mnih et al. 2015.

    Raises ValueError on other shapes or a mask that is not bool.
    """
    next_mask = _next_mask(q_target, mask)
    return masked_max(q_target.detach()[:, 1:], next_mask)


def double_q_bootstrap(q_online: Tensor, q_target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the target network's value of the action that the online network prefers, at steps 1..T.

    q_online and q_target (B, T+1, M, A), mask (B, T+1, M, A) or None -> (B, T, M), so that entry t is the value of
    observation t + 1; 0 where nothing is allowed. The result carries no gradient. Source: van Hasselt et al. 2015
    (arXiv:1509.06461).

    Raises ValueError on other shapes or a mask that is not bool.
    """
    if q_online.shape != q_target.shape:
        raise ValueError(
            f"expected q_online and q_target of one shape; got {tuple(q_online.shape)} and {tuple(q_target.shape)}"
        )
    next_mask = _next_mask(q_target, mask)
    chosen = masked_argmax(q_online.detach()[:, 1:], next_mask)  # (B, T, M)
    value = gather_actions(q_target.detach()[:, 1:], chosen)
    return value if next_mask is None else torch.where(next_mask.any(-1), value, torch.zeros_like(value))


def masked_mean(loss: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of loss where the mask is True, a scalar; 0 (with zero gradients) if the mask is empty.

    The mask is bool and has the shape of loss or of its leading axes: loss (B, T, M) with mask (B, T) averages over M too.
    Masked entries may be NaN or infinite without affecting the result.

    Raises ValueError on other shapes or a mask that is not bool.
    """
    require_bool(mask=mask)
    if loss.shape[: mask.ndim] != mask.shape:
        raise ValueError(
            f"expected a mask with the leading axes of loss {tuple(loss.shape)}; got mask {tuple(mask.shape)}"
        )
    full = mask.reshape(mask.shape + (1,) * (loss.ndim - mask.ndim)).expand_as(loss)
    return torch.where(full, loss, torch.zeros_like(loss)).sum() / full.sum().clamp(min=1)


def _forbid(q: Tensor, mask: Tensor) -> Tensor:
    """Return q with -inf where the mask is False."""
    require_bool(mask=mask)
    fits = mask.ndim == q.ndim and all(m in (1, n) for m, n in zip(mask.shape, q.shape, strict=True))
    if not fits or mask.shape[-1] != q.shape[-1]:
        raise ValueError(
            f"expected a mask of q's shape {tuple(q.shape)}, or size 1 on any axis but the last; got {tuple(mask.shape)}"
        )
    return q.masked_fill(~mask, -torch.inf)


def _next_mask(q: Tensor, mask: Tensor | None) -> Tensor | None:
    """Check q (B, T+1, M, A) and the mask together. Return the mask of steps 1..T, (B, T, M, A), or (1, 1, M, A) for all.

    A mask (B, T+1, A) is accepted where there is one action dimension.
    """
    if q.ndim != 4:
        raise ValueError(f"expected q of rank 4, (B, T+1, M, A); got {tuple(q.shape)}")
    if mask is None:
        return None
    full = mask.unsqueeze(2) if mask.ndim == 3 and q.shape[2] == 1 else mask
    steps, dims, actions = q.shape[:2], q.shape[2], q.shape[3]
    if (
        full.ndim != 4
        or full.shape[:2] not in (steps, (1, 1))
        or full.shape[2] not in (1, dims)
        or full.shape[3] != actions
    ):
        raise ValueError(
            f"expected mask (B, T+1, M, A) = {tuple(q.shape)}, or (1, 1, M, A) for all steps, or if M = 1 "
            f"{(*q.shape[:2], q.shape[3])}; got {tuple(mask.shape)}"
        )
    return full if full.shape[:2] == (1, 1) else full[:, 1:]
