from __future__ import annotations

import dataclasses

import numpy as np
import torch

from seqel.losses.config import ObjectiveConfig
from seqel.replay.concat import concat, pad_to
from seqel.training.config import LearnerConfig
from seqel.training.learner import Learner
from support import batch, network


def learner() -> Learner:
    return Learner(network(), ObjectiveConfig(0.9, lambda_=0.9), LearnerConfig(warmup=1, optimizer="sgd", clip=0.0))


def test_padding_changes_nothing_that_is_learnt() -> None:
    one, other = learner(), learner()
    short = batch(rows=3, steps=7)
    told, again = one.update(short), other.update(pad_to(short, 12))
    for name, value in told.items():
        torch.testing.assert_close(again[name], value, rtol=1e-4, atol=1e-6)
    for a, b in zip(one.network.parameters(), other.network.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_both_batches_rows_stand_in_order_and_what_one_lacks_is_left_out() -> None:
    live = dataclasses.replace(batch(rows=2, steps=9, seed=1), q_acted=torch.ones(2, 9), weight=torch.full((2, 9), 0.5))
    old = dataclasses.replace(
        batch(rows=3, steps=5, seed=2), behaviour_prob=torch.ones(3, 5), storage_index=torch.ones(3, 5)
    )
    both = concat(live, old)
    assert both.reward.shape == (5, 9) and both.is_first.shape == (5, 10) and both.num_learned == 18 + 15
    assert both.q_acted is None and both.behaviour_prob is None and both.storage_index is None
    assert both.weight is not None
    assert np.allclose(both.weight[:2], 0.5) and np.allclose(both.weight[2:, :5], 1.0)
    torch.testing.assert_close(both.reward[:2], live.reward)
    torch.testing.assert_close(both.reward[2:, :5], old.reward)
    assert not both.valid[2:, 5:].any() and not both.loss_mask[2:, 5:].any()
    leaf = both.observation["observation"]
    torch.testing.assert_close(leaf[2:, 6:], old.observation["observation"][:, -1:].expand(-1, 4, -1))
