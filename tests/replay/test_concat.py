from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from seqel.losses.config import ObjectiveConfig
from seqel.replay.concat import concat, pad_to
from seqel.training.config import LearnerConfig
from seqel.training.learner import Learner
from seqel.types import SequenceBatch, axis_of
from support import batch, network


def learner() -> Learner:
    return Learner(
        network(),
        ObjectiveConfig(0.9, lambda_=0.9),
        LearnerConfig(learning_rate=1e-3, target_rate=0.01, warmup=1, optimizer="sgd", max_grad_norm=0.0),
    )


def test_padding_does_not_change_the_update() -> None:
    one, other = learner(), learner()
    short = batch(rows=3, steps=7)
    once, again = one.update(short), other.update(pad_to(short, 12))
    for name, value in once.items():
        torch.testing.assert_close(again[name], value, rtol=1e-4, atol=1e-6)
    for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_rows_of_both_batches_are_in_order_and_fields_that_one_lacks_are_dropped() -> None:
    live = dataclasses.replace(
        batch(rows=2, steps=9, seed=1), first_visit=torch.ones(2, 9), weight=torch.full((2, 9), 0.5)
    )
    old = dataclasses.replace(
        batch(rows=3, steps=5, seed=2), behaviour_prob=torch.ones(3, 5), storage_index=torch.ones(3, 5)
    )
    both = concat(live, old)
    assert both.reward.shape == (5, 9) and both.is_first.shape == (5, 10) and both.num_learned == 18 + 15
    assert both.first_visit is None and both.behaviour_prob is None and both.storage_index is None
    assert both.weight is not None
    assert np.allclose(both.weight[:2], 0.5) and np.allclose(both.weight[2:, :5], 1.0)
    torch.testing.assert_close(both.reward[:2], live.reward)
    torch.testing.assert_close(both.reward[2:, :5], old.reward)
    assert not both.valid[2:, 5:].any() and not both.loss_mask[2:, 5:].any()
    leaf = both.observation["observation"]
    torch.testing.assert_close(leaf[2:, 6:], old.observation["observation"][:, -1:].expand(-1, 4, -1))


def test_every_field_declares_how_it_is_padded_and_joined() -> None:
    for one in dataclasses.fields(SequenceBatch):
        axis = axis_of(one.name)
        assert (axis.time is None) == (axis.padding is None), one.name
        optional = one.default is None
        assert optional or axis.missing == "drop", f"{one.name} is always there"


def full(rows: int, steps: int) -> SequenceBatch:
    """A batch with every field."""
    return dataclasses.replace(
        batch(rows=rows, steps=steps),
        action_mask=torch.zeros(rows, steps + 1, 3, dtype=torch.bool),
        first_visit=torch.ones(rows, steps),
        novelty=torch.ones(rows, steps),
        behaviour_prob=torch.ones(rows, steps),
        policy=torch.ones(rows, steps + 1, 2, 1, 3),
        candidates=torch.full((rows, steps + 1, 4), 2),
        log_count=torch.full((rows, steps + 1, 4), 0.5),
        cost=torch.ones(rows, steps),
        weight=torch.full((rows, steps), 0.5),
        storage_index=torch.arange(steps).expand(rows, -1),
        episode_index=torch.arange(rows),
    )


def test_no_field_is_dropped_silently() -> None:
    one, two = full(2, 7), full(3, 5)
    both = concat(one, two)
    for field in dataclasses.fields(SequenceBatch):
        value, axis = getattr(both, field.name), axis_of(field.name)
        if axis.local:
            assert value is None, "the places of steps refer to two stores"
        elif isinstance(value, torch.Tensor):
            assert len(value) == 5 and (axis.time is None or value.shape[1] == 7 + (axis.time == "T+1")), field.name
        else:
            assert value is not None, field.name
    assert both.candidates is not None and both.log_count is not None and both.behaviour_prob is not None
    assert (both.candidates == 2).all() and (both.log_count == 0.5).all(), "the last step's stand in the padding"
    assert both.behaviour_prob[2:, 5:].isnan().all() and not both.behaviour_prob[2:, :5].isnan().any()


def test_a_mask_that_only_one_has_still_forbids_and_the_other_allows_all() -> None:
    masked = dataclasses.replace(batch(rows=2, steps=4), action_mask=torch.zeros(2, 5, 3, dtype=torch.bool))
    free = batch(rows=1, steps=4)
    for both, rows in ((concat(masked, free), slice(0, 2)), (concat(free, masked), slice(1, 3))):
        assert both.action_mask is not None and both.action_mask.shape == (3, 5, 3)
        assert not both.action_mask[rows].any() and both.action_mask.sum() == 15


def test_fields_that_would_change_the_meaning_of_the_other_rows_are_refused() -> None:
    for name in ("candidates", "log_count", "policy"):
        one = dataclasses.replace(batch(rows=2, steps=4), **{name: getattr(full(2, 4), name)})
        with pytest.raises(ValueError, match=name):
            concat(one, batch(rows=1, steps=4))


def test_padding_repeats_the_last_mask_and_policy() -> None:
    mask = torch.tensor([[[True, True, False], [True, False, True], [False, True, True]]])
    one = dataclasses.replace(batch(rows=1, steps=2), action_mask=mask, policy=mask[:, :, None].float())
    longer = pad_to(one, 4)
    assert longer.action_mask is not None and longer.policy is not None
    assert longer.action_mask[0].tolist() == [*mask[0].tolist(), *[[False, True, True]] * 2]
    assert longer.policy[0, :, 0].tolist() == longer.action_mask[0].float().tolist()
    assert longer.valid.tolist() == longer.loss_mask.tolist() == [[True, True, False, False]]
