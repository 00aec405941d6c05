"""Concatenates two batches: windows of online experience and of recorded data, for one update.

The metadata of a field (`seqel.types.Axis`) says how it is joined, so that a new field needs no change here.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from seqel.types import SequenceBatch, axis_of

__all__ = ["concat", "pad_to"]

FILLING = {"zero": 0.0, "nan": torch.nan}


def concat(first: SequenceBatch, second: SequenceBatch) -> SequenceBatch:
    """Return a batch with the rows of `first`, then those of `second`; the shorter is padded as a replay pads.

    If only one batch has a field, the field's `Axis.missing` says what replaces it in the other: a weight counts as 1, a
    mask allows everything, and fields known for one batch only (`q_acted`, `behaviour_prob`) are dropped. The places
    where steps are stored (`storage_index`, `episode_index`) are always dropped, because they refer to two stores.

    Raises ValueError if only one of them has candidates or policies to evaluate.
    """
    steps = max(first.reward.shape[1], second.reward.shape[1])
    left, right = pad_to(first, steps), pad_to(second, steps)
    joined: dict[str, Any] = {}
    for each in fields(SequenceBatch):
        joined[each.name] = _join(each.name, left, right)
    return SequenceBatch(**joined)


def pad_to(batch: SequenceBatch, steps: int) -> SequenceBatch:
    """Pad the batch to T = `steps` transitions; padding is neither valid nor trained on."""
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
            raise ValueError(f"concat: expected both batches to have {name!r}, or neither; got one that has it")
        there = two if one is None else one
        rows = len((left if one is None else right).reward)
        other = there.new_full((rows, *there.shape[1:]), axis.missing)
        one, two = (other, there) if one is None else (there, other)
    return torch.cat([one, two])


def _pad(x: Tensor, more: int, how: str | None) -> Tensor:
    """Append `more` steps, filled as `how` says."""
    if how == "last":
        filling = x[:, -1:].expand(-1, more, *x.shape[2:])
    else:
        assert how is not None
        filling = x.new_full((x.shape[0], more, *x.shape[2:]), FILLING[how])
    return torch.cat([x, filling], dim=1)
