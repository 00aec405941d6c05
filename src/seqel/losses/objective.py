"""One batch and two networks' outputs -> the loss of every step. Tensors in, tensors out; composed of pure functions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seqel.losses.config import ObjectiveConfig
from seqel.losses.distributions import Categorical, Quantiles
from seqel.losses.hl_gauss import HLGauss
from seqel.losses.returns import n_step, one_step, peng_lambda, watkins_trace
from seqel.losses.td import double_q_bootstrap, huber, masked_argmax, masked_max, q_bootstrap, select, squared
from seqel.types import QOutput, SequenceBatch

__all__ = ["StepLoss", "pick", "q_targets", "step_loss"]


@dataclass(frozen=True, slots=True)
class StepLoss:
    """What one update needs to know, a step at a time; (B, T) each, meaningful where `batch.learn` is True."""

    loss: Tensor  # in units of the value's scale (squared; quantiles: as it is), or nats (classified)
    q: Tensor  # the value of the action taken, in units of reward
    target: Tensor  # likewise


def q_targets(batch: SequenceBatch, online: QOutput, target: QOutput, config: ObjectiveConfig) -> Tensor:
    """The return each step's value is pulled to, in units of reward.  -> (B, T, M), no gradient.

    One forward pass over T+1 steps gives both q_t and q_{t+1} of each network, so double Q (van Hasselt et al. 2015,
    arXiv:1509.06461) costs no further pass. Termination stands in `batch.discount`; a truncation bootstraps.
    """
    q_online = online.q.detach()
    if config.double:
        bootstrap = double_q_bootstrap(q_online, target.q, batch.action_mask)
    else:
        bootstrap = q_bootstrap(target.q, batch.action_mask)
    targets = []
    for dim in range(batch.action.shape[-1]):  # M, one so far: not a loop over time or batch
        value = bootstrap[..., dim]
        if config.lambda_ == 0.0:
            if config.n_step == 1:
                targets.append(one_step(batch.reward, batch.discount, value))
            else:
                targets.append(n_step(batch.reward, batch.discount, value, batch.valid, config.n_step))
            continue
        trace: float | Tensor = config.lambda_
        if config.trace == "watkins":
            taken = select(q_online[:, :-1, dim : dim + 1], batch.action[..., dim : dim + 1])[..., 0]
            mask = None if batch.action_mask is None else batch.action_mask[:, :-1]
            trace = watkins_trace(taken >= masked_max(q_online[:, :-1, dim], mask), config.lambda_)
        targets.append(peng_lambda(batch.reward, batch.discount, value, batch.valid, trace))
    return torch.stack(targets, dim=-1)


def step_loss(
    batch: SequenceBatch,
    online: QOutput,
    target: QOutput,
    scale: Tensor,
    config: ObjectiveConfig,
    values: HLGauss | Categorical | Quantiles | None = None,
) -> StepLoss:
    """The loss of every transition.

    `scale` () is the unit that errors are measured in (the head's); `values` what the head's outputs mean where they
    are more than one an action.
    """
    goal = q_targets(batch, online, target, config)  # (B, T, M)
    q = select(online.q[:, :-1], batch.action)  # (B, T, M)
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
    return StepLoss(loss.mean(dim=-1), q.detach().mean(dim=-1), goal.mean(dim=-1))


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
