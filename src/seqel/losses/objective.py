"""One batch and two networks' outputs -> the loss of every step. Tensors in, tensors out; composed of pure functions."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import pad

from seqel.losses.config import ObjectiveConfig
from seqel.losses.returns import n_step, one_step, peng_lambda, retrace, watkins_trace
from seqel.losses.td import double_q_bootstrap, gather_actions, huber, masked_argmax, masked_max, q_bootstrap, squared
from seqel.losses.terms.terms import advantage_weight, cloning_loss, cql_penalty, expectile_loss, support_mask
from seqel.types import QOutput, SequenceBatch
from seqel.values.distributions import Categorical, Quantiles
from seqel.values.hl_gauss import HLGauss

__all__ = ["StepLoss", "offline_terms", "pick", "q_targets", "step_loss"]


@dataclass(frozen=True, slots=True)
class StepLoss:
    """What one update needs to know, a step at a time; (B, T) each, meaningful where `batch.learn` is True."""

    loss: Tensor  # in units of the value's scale (squared; quantiles: as it is), or nats (classified)
    q: Tensor  # the value of the action taken, in units of reward
    target: Tensor  # likewise
    extra: Tensor | None = None  # what keeps the learner near recorded data, weights included; not a value's error
    terms: dict[str, Tensor] = field(default_factory=dict)  # its parts, without their weights, for the metrics


def q_targets(
    batch: SequenceBatch, online: QOutput, target: QOutput, config: ObjectiveConfig, support: float = 0.0
) -> Tensor:
    """The return each step's value is pulled to, in units of reward.  -> (B, T, M), no gradient.

    One forward pass over T+1 steps gives both q_t and q_{t+1} of each network, so double Q (van Hasselt et al. 2015,
    arXiv:1509.06461) costs no further pass. Termination stands in `batch.discount`; a truncation bootstraps.
    Bootstrapped from is, in this order: `batch.policy`'s expectation of the target network's values (the evaluated policy
    of fitted Q evaluation); the state value (IQL); the best action, among those that the policy head supports where
    `support` > 0 (BCQ).
    """
    mask = _allowed(batch, online, support)
    bootstrap = _bootstrap(batch, online, target, config, mask)
    dims = batch.action.shape[-1]
    # the M values are independent: they stand below each other, as further windows
    reward, discount, valid = (_spread(x, dims) for x in (batch.reward, batch.discount, batch.valid))
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
            q = online.q.detach()[:, :-1]
            best = masked_max(q, None if mask is None else mask[:, :-1, None])
            trace = watkins_trace(_fold(gather_actions(q, batch.action) >= best), config.lambda_)
        if config.trace == "watkins":
            found = peng_lambda(reward, discount, value, valid, trace)
        else:
            found = retrace(
                reward, discount, value, _fold(gather_actions(target.q[:, :-1], batch.action)), valid, trace
            )
    return found.view(dims, *batch.reward.shape).movedim(0, -1)


def _fold(x: Tensor) -> Tensor:
    """(B, T, M) -> (M B, T)."""
    return x.movedim(-1, 0).flatten(0, 1)


def _spread(x: Tensor, dims: int) -> Tensor:
    """(B, T) -> (M B, T), the same for each of M."""
    return x.expand(dims, *x.shape).flatten(0, 1)


def _allowed(batch: SequenceBatch, online: QOutput, support: float) -> Tensor | None:
    """Which actions may be bootstrapped through, (B, T+1, A), or None where all may."""
    if support == 0.0 or online.policy_logits is None:
        return batch.action_mask
    mask = None if batch.action_mask is None else batch.action_mask[:, :, None]
    return support_mask(online.policy_logits, support, mask)[:, :, 0]  # M is one so far


def _bootstrap(
    batch: SequenceBatch, online: QOutput, target: QOutput, config: ObjectiveConfig, mask: Tensor | None
) -> Tensor:
    """The value of each step's next observation.  -> (B, T, M), no gradient."""
    if batch.policy is not None:
        return (batch.policy * target.q.detach()).sum(dim=-1)[:, 1:]
    if config.iql_expectile > 0.0:
        assert online.value is not None
        return online.value.detach()[:, 1:]
    if config.double:
        return double_q_bootstrap(online.q.detach(), target.q, mask)
    return q_bootstrap(target.q, mask)


def _policy_trace(batch: SequenceBatch, lambda_: float) -> Tensor:
    """lambda min(1, pi / mu) of the next step's action, (B, T, M); an unknown mu counts as 1.

    The ratio is then never too large: the trace is cut a little early, which costs speed and no correctness.
    """
    assert batch.policy is not None
    pi = gather_actions(batch.policy[:, :-1], batch.action)
    mu = torch.ones_like(batch.reward) if batch.behaviour_prob is None else batch.behaviour_prob.nan_to_num(nan=1.0)
    return lambda_ * pad((pi / mu[..., None]).clamp(max=1.0)[:, 1:], (0, 0, 0, 1))


def step_loss(
    batch: SequenceBatch,
    online: QOutput,
    target: QOutput,
    scale: Tensor,
    config: ObjectiveConfig,
    values: HLGauss | Categorical | Quantiles | None = None,
    support: float = 0.0,
) -> StepLoss:
    """The loss of every transition.

    `scale` () is the unit that errors are measured in (the head's); `values` what the head's outputs mean where they
    are more than one an action; `support` the policy head's filter, where it has one.
    """
    goal = q_targets(batch, online, target, config, support)  # (B, T, M)
    q = gather_actions(online.q[:, :-1], batch.action)  # (B, T, M)
    if values is None or online.logits is None:
        error = (q - goal) / scale
        loss = huber(error) if config.error == "huber" else squared(error)
    else:
        outputs = pick(online.logits[:, :-1], batch.action)
        if isinstance(values, HLGauss):
            loss = values.cross_entropy(outputs, goal / scale)
        else:
            following, offset, factor = _next_distribution(batch, online, target, config)
            loss = values.loss(outputs, following, (offset / scale)[..., None], factor[..., None])
    terms = offline_terms(batch, online, target, scale, config)
    weights = {"conservative": config.cql_alpha, "imitation": config.cloning_weight, "state_value": 1.0}
    extra = sum((weights[name] * term for name, (term, _) in terms.items()), torch.zeros(())) if terms else None
    return StepLoss(
        config.td_weight * loss.mean(dim=-1),
        q.detach().mean(dim=-1),
        goal.mean(dim=-1),
        extra,
        {name: plain for name, (_, plain) in terms.items()},
    )


def offline_terms(
    batch: SequenceBatch, online: QOutput, target: QOutput, scale: Tensor, config: ObjectiveConfig
) -> dict[str, tuple[Tensor, Tensor]]:
    """The terms of `losses/terms/terms.py` that the config asks for: name -> (what is learnt, what is reported), (B, T) each."""
    mask = None if batch.action_mask is None else batch.action_mask[:, :-1, None]
    count = None if batch.log_count is None else batch.log_count[:, :-1, None]
    found: dict[str, tuple[Tensor, Tensor]] = {}
    if config.cql_alpha > 0.0:
        gap = cql_penalty(online.q[:, :-1] / scale, batch.action, config.cql_temperature, mask, count).mean(dim=-1)
        found["conservative"] = (gap, gap.detach())
    advantage = None
    if config.iql_expectile > 0.0:
        assert online.value is not None
        advantage = (gather_actions(target.q[:, :-1], batch.action) - online.value[:, :-1]) / scale  # (B, T, M)
        loss = expectile_loss(advantage, config.iql_expectile).mean(dim=-1)
        found["state_value"] = (loss, loss.detach())
    if config.cloning_weight > 0.0:
        assert online.policy_logits is not None
        dims = online.policy_logits.shape[2]  # values may stand there for several policies, what was recorded for one
        nats = cloning_loss(online.policy_logits[:, :-1], batch.action[..., :dims], mask, count)
        plain = nats.detach().mean(dim=-1)
        if advantage is not None and config.awr_beta > 0.0:
            nats = advantage_weight(advantage, config.awr_beta, batch.loss_mask) * nats
        found["imitation"] = (nats.mean(dim=-1), plain)
    return found


def pick(outputs: Tensor, action: Tensor) -> Tensor:
    """The outputs of the action taken.  outputs (B, T, M, A, bins), action (B, T, M) -> (B, T, M, bins)."""
    index = action[..., None, None].expand(*action.shape, 1, outputs.shape[-1])
    return outputs.gather(-2, index)[..., 0, :]


def _next_distribution(
    batch: SequenceBatch, online: QOutput, target: QOutput, config: ObjectiveConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """What each step's distribution is pulled to: the target network's outputs of the action that follows it
    (B, T, M, bins), and the affine map to here, offset (in units of reward) and factor, (B, T) each.

    `n_step` is affine in its bootstrap, so its three parts come from three calls: on rewards alone, on discounts
    alone, and on step numbers, which says where it bootstraps.
    """
    assert target.logits is not None
    chooser = online.q.detach() if config.double else target.q
    mask = None if batch.action_mask is None else batch.action_mask[:, 1:, None]
    following = pick(target.logits[:, 1:], masked_argmax(chooser[:, 1:], mask))
    reward, discount, valid = batch.reward, batch.discount, batch.valid
    zero, one = torch.zeros_like(reward), torch.ones_like(reward)
    offset = n_step(reward, discount, zero, valid, config.n_step)
    factor = n_step(zero, discount, one, valid, config.n_step)
    steps = torch.arange(reward.shape[1], device=reward.device, dtype=torch.float32).expand_as(reward)
    at = n_step(zero.float(), one.float(), steps, valid, config.n_step).long()
    return following.gather(1, at[..., None, None].expand_as(following)), offset, factor
