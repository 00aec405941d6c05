"""All terms: the effect of masks, padding and bounds on each."""

from __future__ import annotations

import math

import pytest
import torch

from seqel.losses.terms.awr import advantage_weight
from seqel.losses.terms.cloning import cloning_loss
from seqel.losses.terms.cql import cql_penalty
from seqel.losses.terms.iql import expectile_loss
from seqel.values.policy import log_policy, support_mask

ACTION = torch.tensor([[[1]]])


def test_each_row_has_a_mask_of_its_own() -> None:
    """The first row allows nothing (padding) and stays finite; the second allows two of three."""
    x = torch.tensor([[0.0, math.log(3.0), 9.0], [0.0, math.log(3.0), 9.0]])
    mask = torch.tensor([[False, False, False], [True, True, False]])
    found = log_policy(x, mask).exp()
    assert found[1].tolist() == pytest.approx([0.25, 0.75, 0.0])
    assert found[0].sum().item() == pytest.approx(1.0)
    assert not support_mask(x, 0.5, mask)[0].any() and support_mask(x, 0.5, mask)[1].tolist() == [False, True, False]


def test_a_sampled_action_counts_for_the_actions_that_it_represents() -> None:
    logits = torch.tensor([[[[0.0, math.log(3.0)]]]])
    count = torch.tensor([[[[math.log(2.0), 0.0]]]])
    assert cloning_loss(logits, ACTION, None, count).item() == pytest.approx(math.log(5 / 3))  # 3 of 2 * 1 + 3
    assert cql_penalty(logits, ACTION, 1.0, None, count).item() == pytest.approx(math.log(5) - math.log(3))


def test_a_threshold_of_zero_supports_all_allowed_actions_and_no_others() -> None:
    mask = torch.tensor([False, True, True])
    assert support_mask(torch.zeros(3), 0.0).all()
    assert support_mask(torch.zeros(3), 0.0, mask).tolist() == [False, True, True]
    logits = torch.zeros(3, requires_grad=True)
    assert not support_mask(logits, 0.5).requires_grad


def test_advantages_of_several_action_dimensions_share_one_mean_size() -> None:
    advantage = torch.tensor([[[1.0, -2.0], [3.0, 6.0]]], requires_grad=True)  # mean size 3
    weight = advantage_weight(advantage, 1.5, torch.ones(1, 2, dtype=torch.bool))
    assert weight.flatten().tolist() == pytest.approx([math.exp(0.5), math.exp(-1.0), math.exp(1.5), 20.0])
    assert not weight.requires_grad


def test_small_advantages_are_distinguished_and_zero_advantages_have_weight_one() -> None:
    learn = torch.ones(1, 2, dtype=torch.bool)
    small = advantage_weight(torch.tensor([[[1e-4], [-3e-4]]]), 2.0, learn).flatten().tolist()
    assert small == pytest.approx([math.exp(1.0), math.exp(-3.0)])
    assert advantage_weight(torch.zeros(1, 2, 1), 2.0, learn).flatten().tolist() == [1.0, 1.0]
    nobody = advantage_weight(torch.zeros(1, 2, 1), 2.0, torch.zeros(1, 2, dtype=torch.bool))
    assert nobody.flatten().tolist() == [1.0, 1.0]


@pytest.mark.parametrize("tau", [0.0, 1.0, -0.1])
def test_an_expectile_must_be_between_zero_and_one(tau: float) -> None:
    with pytest.raises(ValueError, match="0 < tau < 1"):
        expectile_loss(torch.zeros(1), tau)


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_must_be_positive(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature > 0"):
        cql_penalty(torch.zeros(1, 1, 1, 2), ACTION, temperature)
