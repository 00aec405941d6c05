"""Two batches as one: windows of live experience and of recorded data, learned from in one update.

What happens to a field stands in its metadata (`seqel.types.Axis`), so that a new field needs nothing here.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from seqel.types import SequenceBatch, axis_of

__all__ = ["concat", "pad_to"]

FILLING = {"zero": 0.0, "nan": torch.nan}


def concat(one: SequenceBatch, two: SequenceBatch) -> SequenceBatch:
    """The rows of `one`, then those of `two`; the shorter is padded as a replay pads.

    Where only one has a field, its `Axis.missing` says what stands for the other's: a weight counts as 1, a mask allows
    everything, what was known of one batch alone (`q_acted`, `behaviour_prob`) is left out. Where steps are stored
    (`storage_index`, `episode_index`) is left out always: it refers to two stores.

    Raises ValueError where only one is scored on candidates or has policies to evaluate.
    """
    steps = max(one.reward.shape[1], two.reward.shape[1])
    left, right = pad_to(one, steps), pad_to(two, steps)
    joined: dict[str, Any] = {}
    for each in fields(SequenceBatch):
        joined[each.name] = _join(each.name, left, right)
    return SequenceBatch(**joined)


def pad_to(batch: SequenceBatch, steps: int) -> SequenceBatch:
    """The batch with T = `steps` transitions: padding that is neither valid nor learned from."""
    more = steps - batch.reward.shape[1]
    if more == 0:
        return batch
    padded: dict[str, Any] = {}
    for each in fields(SequenceBatch):
        value, axis = getattr(batch, each.name), axis_of(each.name)
        if value is not None and axis.time is not None:
            if isinstance(value, dict):
                value = {path: _pad(leaf, more, axis.padding) for path, leaf in value.items()}
            else:
                value = _pad(value, more, axis.padding)
        padded[each.name] = value
    return SequenceBatch(**padded)


def _join(name: str, left: SequenceBatch, right: SequenceBatch) -> Any:
    axis, one, two = axis_of(name), getattr(left, name), getattr(right, name)
    if axis.local or (one is None and two is None):
        return None
    if isinstance(one, int):
        return one + two
    if isinstance(one, dict):
        return {path: torch.cat([leaf, two[path]]) for path, leaf in one.items()}
    if one is None or two is None:
        if axis.missing == "drop":
            return None
        if axis.missing == "refuse":
            raise ValueError(f"concat: expected both batches to have {name!r}, or neither; one of them has")
        there = two if one is None else one
        rows = len((left if one is None else right).reward)
        other = there.new_full((rows, *there.shape[1:]), axis.missing)
        one, two = (other, there) if one is None else (there, other)
    return torch.cat([one, two])


def _pad(x: Tensor, more: int, how: str | None) -> Tensor:
    """`more` further steps, filled as `how` says."""
    if how == "last":
        filling = x[:, -1:].expand(-1, more, *x.shape[2:])
    else:
        assert how is not None
        filling = x.new_full((x.shape[0], more, *x.shape[2:]), FILLING[how])
    return torch.cat([x, filling], dim=1)
