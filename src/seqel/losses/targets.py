"""The training target of each step: a return that bootstraps from the target network, or the outputs of a later step."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from seqel.losses.bcq import supported_actions
from seqel.losses.config import ObjectiveConfig
from seqel.losses.returns import has_next, n_step, one_step, peng_lambda, retrace, watkins_trace
from seqel.losses.td import (
    action_values,
    double_q_bootstrap,
    gather_actions,
    masked_argmax,
    masked_max,
    mean_over_dimensions,
    q_bootstrap,
)
from seqel.types import QOutput, SequenceBatch

__all__ = [
    "allowed_actions",
    "bootstraps",
    "next_outputs",
    "pick",
    "q_targets",
    "reads_every_value",
    "without_first",
    "without_last",
]


def allowed_actions(batch: SequenceBatch, online: QOutput) -> Tensor | None:
    """Return which actions may be chosen: those that the batch's mask allows and that exist in their dimension.

    -> bool (B, T+1, M, A), or (1, 1, M, A) if it is the same at every step; None if all actions are allowed.
    """
    mask = batch.allowed
    if online.available is None:
        return mask
    return online.available[None, None] if mask is None else mask & online.available


def bootstraps(batch: SequenceBatch, config: ObjectiveConfig) -> bool:
    """Return whether any target of a batch depends on the target network's values.

    No target does with cloning alone, with discount 0, or if all returns are complete (lambda 1 without cuts, and every
    window ends with a termination). An expectile of the values (IQL) always needs them.
    """
    if config.td_weight == 0.0:
        return False
    if config.iql_expectile > 0.0:
        return True
    if config.lambda_ < 1.0 or config.trace != "peng" or batch.policy is not None:
        return config.discount != 0.0
    last = batch.valid & ~has_next(batch.valid)
    return bool((batch.discount[last] != 0.0).any())


def reads_every_value(batch: SequenceBatch, config: ObjectiveConfig) -> bool:
    """Return whether any target of a batch depends on the values of actions other than the recorded one.

    With a state value (IQL), only traces that ask whether the recorded action was greedy do.
    """
    if batch.policy is not None:
        return True
    if config.iql_expectile > 0.0:
        return config.lambda_ > 0.0 and config.trace != "peng"
    return bootstraps(batch, config)


def q_targets(
    batch: SequenceBatch,
    online: QOutput,
    target: QOutput,
    config: ObjectiveConfig,
    support: float = 0.0,
    prefer: Tensor | None = None,
) -> Tensor:
    """Return the target of each step's value, in units of reward.  -> (B, T, K), no gradient; K = 1 unless `batch.policy`
    holds K policies to evaluate.

    One forward pass over T+1 steps gives both q_t and q_{t+1} of each network, so double Q (van Hasselt et al. 2015,
    arXiv:1509.06461) needs no further pass. `batch.discount` is 0 after a termination; a truncation bootstraps.
    Targets bootstrap from the first of these that exists: the expectation of the target network's values under
    `batch.policy` (fitted Q evaluation); the state value (IQL); the best action, if `support` > 0 among those that the
    policy head supports (BCQ). With several action dimensions the best action is the best of each dimension, and its value
    is the mean of their values (Seyde et al. 2023, arXiv:2210.12566).

    prefer (B, T+1, M, A): the scores that the policy maximises, if not the values themselves. The choice of the next action
    and the trace then use these scores.
    """
    if online.taken and config.iql_expectile == 0.0:  # nothing bootstraps (`bootstraps`)
        return peng_lambda(batch.reward, batch.discount, torch.zeros_like(batch.reward), batch.valid, 1.0)[..., None]
    mask = None if online.taken else supported_actions(online, support, allowed_actions(batch, online))
    bootstrap = _bootstrap(batch, online, target, config, mask, prefer)  # (B, T, K)
    policies = bootstrap.shape[-1]
    # the K values are independent of each other, so they are stacked as further windows
    reward, discount, valid = (_spread(x, policies) for x in (batch.reward, batch.discount, batch.valid))
    value = _fold(bootstrap)
    if config.lambda_ == 0.0:
        if config.n_step == 1:
            found = one_step(reward, discount, value)
        else:
            found = n_step(reward, discount, value, valid, config.n_step)
    elif config.trace == "peng":
        found = peng_lambda(reward, discount, value, valid, config.lambda_)
    else:
        if batch.policy is not None:
            trace = _fold(_policy_trace(batch, config.lambda_))
        else:
            trace = watkins_trace(_is_greedy(batch, online.q if prefer is None else prefer, mask), config.lambda_)
        if config.trace == "watkins":
            found = peng_lambda(reward, discount, value, valid, trace)
        else:
            found = retrace(
                reward, discount, value, _fold(action_values(target.q.detach()[:, :-1], batch.action)), valid, trace
            )
    return found.view(policies, *batch.reward.shape).movedim(0, -1)


def _fold(x: Tensor) -> Tensor:
    """Stack the policies as windows: (B, T, K) -> (K B, T)."""
    return x.movedim(-1, 0).flatten(0, 1)


def _spread(x: Tensor, policies: int) -> Tensor:
    """Repeat for each of K policies: (B, T) -> (K B, T)."""
    return x.expand(policies, *x.shape).flatten(0, 1)


def _bootstrap(
    batch: SequenceBatch,
    online: QOutput,
    target: QOutput,
    config: ObjectiveConfig,
    mask: Tensor | None,
    prefer: Tensor | None,
) -> Tensor:
    """Return the value of each step's next observation.  -> (B, T, K), no gradient."""
    if batch.policy is not None:
        q = target.q.detach()
        q = q if q.ndim == 5 else q[:, :, None]  # (B, T+1, K, M, A)
        return mean_over_dimensions((batch.policy * q).sum(dim=-1))[:, 1:]
    if config.iql_expectile > 0.0:
        assert online.value is not None
        return online.value.detach()[:, 1:, None]
    if prefer is not None:
        found = double_q_bootstrap(prefer, target.q, mask)
    elif config.double:
        found = double_q_bootstrap(online.q.detach(), target.q, mask)
    else:
        found = q_bootstrap(target.q, mask)
    return mean_over_dimensions(found)[..., None]


def _is_greedy(batch: SequenceBatch, preference: Tensor, mask: Tensor | None) -> Tensor:
    """Return whether the recorded action is greedy in every dimension.  -> (B, T) bool."""
    q = preference.detach()[:, :-1]
    best = masked_max(q, without_last(mask))
    return (gather_actions(q, batch.action) >= best).all(dim=-1)


def _policy_trace(batch: SequenceBatch, lambda_: float) -> Tensor:
    """Return lambda min(1, pi / mu) of the next step's action, (B, T, K); an unknown mu counts as 1.

    pi is the product over action dimensions. Counting mu as 1 never makes the ratio too large: the trace is cut a little
    early, which slows learning down but keeps the targets correct.
    """
    assert batch.policy is not None
    action = batch.action[:, :, None].expand(-1, -1, batch.policy.shape[2], -1)
    probabilities = gather_actions(batch.policy[:, :-1], action)  # (B, T, K, M)
    pi = probabilities[..., 0] if probabilities.shape[-1] == 1 else probabilities.prod(dim=-1)
    mu = torch.ones_like(batch.reward) if batch.behaviour_prob is None else batch.behaviour_prob.nan_to_num(nan=1.0)
    return lambda_ * pad((pi / mu[..., None]).clamp(max=1.0)[:, 1:], (0, 0, 0, 1))


def without_last(mask: Tensor | None) -> Tensor | None:
    """Return the mask of steps 0..T-1: (B, T+1, M, A) -> (B, T, M, A). A mask shared by all steps is returned as it is."""
    return mask if mask is None or mask.shape[:2] == (1, 1) else mask[:, :-1]


def without_first(mask: Tensor | None) -> Tensor | None:
    """Return the mask of steps 1..T: (B, T+1, M, A) -> (B, T, M, A). A mask shared by all steps is returned as it is."""
    return mask if mask is None or mask.shape[:2] == (1, 1) else mask[:, 1:]


def pick(outputs: Tensor, action: Tensor) -> Tensor:
    """Return the outputs of the action taken, averaged over action dimensions.

    outputs (B, T, M, A, n) or (B, T, K, M, A, n), action (B, T, M) -> (B, T, K, n), with K = 1 if there is no such axis.
    """
    if outputs.ndim == 5:
        outputs = outputs[:, :, None]
    action = action[:, :, None].expand(-1, -1, outputs.shape[2], -1)
    index = action[..., None, None].expand(*action.shape, 1, outputs.shape[-1])
    taken = outputs.gather(-2, index)[..., 0, :]  # (B, T, K, M, n)
    return taken[..., 0, :] if taken.shape[-2] == 1 else taken.mean(dim=-2)


def next_outputs(
    batch: SequenceBatch, online: QOutput, target: QOutput, config: ObjectiveConfig, prefer: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the target of each step's distribution: the target network's outputs of the best action n steps later
    (B, T, 1, n), and the affine map from there to this step: offset (in units of reward) and factor, (B, T) each.

    `n_step` is affine in its bootstrap, so its three parts come from three calls: on the rewards alone, on the discounts
    alone, and on step numbers, which tell where it bootstraps.
    """
    assert target.logits is not None
    if prefer is None:
        prefer = online.preference.detach() if config.double else target.preference
    mask = without_first(allowed_actions(batch, online))
    following = pick(target.logits[:, 1:], masked_argmax(prefer[:, 1:], mask))
    reward, discount, valid = batch.reward, batch.discount, batch.valid
    zero, one = torch.zeros_like(reward), torch.ones_like(reward)
    offset = n_step(reward, discount, zero, valid, config.n_step)
    factor = n_step(zero, discount, one, valid, config.n_step)
    steps = torch.arange(reward.shape[1], device=reward.device, dtype=torch.float32).expand_as(reward)
    at = n_step(zero.float(), one.float(), steps, valid, config.n_step).long()
    return following.gather(1, at[..., None, None].expand_as(following)), offset, factor
