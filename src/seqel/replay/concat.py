"""Two batches as one: windows of live experience and of recorded data, learnt from in one update."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from seqel.types import SequenceBatch

__all__ = ["concat"]


def concat(one: SequenceBatch, two: SequenceBatch) -> SequenceBatch:
    """The rows of `one`, then those of `two`; the shorter is padded as a replay pads.

    What only one of them knows (`q_acted`, `behaviour_prob`, a mask) is left out, and so is where steps are stored (`slot`,
    `index`); `weight` counts as 1 where it is missing.
    """
    steps = max(one.reward.shape[1], two.reward.shape[1])
    left, right = pad_to(one, steps), pad_to(two, steps)
    weight = None
    if left.weight is not None or right.weight is not None:
        weight = torch.cat([torch.ones_like(b.reward) if b.weight is None else b.weight for b in (left, right)])
    return SequenceBatch(
        observation={name: torch.cat([leaf, right.observation[name]]) for name, leaf in left.observation.items()},
        action=torch.cat([left.action, right.action]),
        reward=torch.cat([left.reward, right.reward]),
        discount=torch.cat([left.discount, right.discount]),
        is_first=torch.cat([left.is_first, right.is_first]),
        valid=torch.cat([left.valid, right.valid]),
        loss_mask=torch.cat([left.loss_mask, right.loss_mask]),
        start_step=torch.cat([left.start_step, right.start_step]),
        previous_action=torch.cat([left.previous_action, right.previous_action]),
        previous_reward=torch.cat([left.previous_reward, right.previous_reward]),
        action_mask=_both(left.action_mask, right.action_mask),
        q_acted=_both(left.q_acted, right.q_acted),
        behaviour_prob=_both(left.behaviour_prob, right.behaviour_prob),
        policy=_both(left.policy, right.policy),
        weight=weight,
        num_learned=one.num_learned + two.num_learned,
    )


def pad_to(batch: SequenceBatch, steps: int) -> SequenceBatch:
    """The batch with T = `steps` transitions: padding that is neither valid nor learnt from."""
    more = steps - batch.reward.shape[1]
    if more == 0:
        return batch
    return replace(
        batch,
        observation={name: _again(leaf, more) for name, leaf in batch.observation.items()},
        action=_filled(batch.action, more, 0),
        reward=_filled(batch.reward, more, 0.0),
        discount=_filled(batch.discount, more, 0.0),
        is_first=_filled(batch.is_first, more, 0),
        valid=_filled(batch.valid, more, 0),
        loss_mask=_filled(batch.loss_mask, more, 0),
        action_mask=None if batch.action_mask is None else _again(batch.action_mask, more),
        policy=None if batch.policy is None else _again(batch.policy, more),
        q_acted=None if batch.q_acted is None else _filled(batch.q_acted, more, torch.nan),
        behaviour_prob=None if batch.behaviour_prob is None else _filled(batch.behaviour_prob, more, torch.nan),
        weight=None if batch.weight is None else _filled(batch.weight, more, 0.0),
        storage_index=None if batch.storage_index is None else _again(batch.storage_index, more),
    )


def _both(one: Tensor | None, two: Tensor | None) -> Tensor | None:
    return None if one is None or two is None else torch.cat([one, two])


def _filled(x: Tensor, more: int, value: float) -> Tensor:
    """`more` further steps of a value."""
    return torch.cat([x, x.new_full((x.shape[0], more, *x.shape[2:]), value)], dim=1)


def _again(x: Tensor, more: int) -> Tensor:
    """`more` further steps like the last one."""
    return torch.cat([x, x[:, -1:].expand(-1, more, *x.shape[2:])], dim=1)
