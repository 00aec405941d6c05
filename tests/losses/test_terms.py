from __future__ import annotations

import math

import pytest
import torch

from seqel.losses.returns import linear_recurrence, one_step, peng_lambda, retrace, watkins_trace
from seqel.losses.terms.terms import (
    advantage_weight,
    cloning_loss,
    cql_penalty,
    expectile_loss,
    log_policy,
    support_mask,
)

ACTION = torch.tensor([[[1]]])


def test_conservative_by_hand() -> None:
    q = torch.tensor([[[[0.0, math.log(3.0)]]]])  # logsumexp = log 4
    assert cql_penalty(q, ACTION, 1.0).item() == pytest.approx(math.log(4.0) - math.log(3.0))
    # a temperature of 1/2 doubles the values inside: (log(1 + 9)) / 2
    assert cql_penalty(q, ACTION, 0.5).item() == pytest.approx(math.log(10.0) / 2 - math.log(3.0))


def test_conservative_sees_allowed_actions_alone() -> None:
    q = torch.tensor([[[[50.0, 1.0, 2.0]]]])
    mask = torch.tensor([[[[False, True, True]]]])
    assert cql_penalty(q, ACTION, 1.0, mask).item() == pytest.approx(math.log(math.e + math.e**2) - 1.0, rel=1e-5)


def test_a_row_that_allows_nothing_has_finite_gradients() -> None:
    q = torch.zeros(1, 1, 1, 3, requires_grad=True)
    mask = torch.zeros(1, 1, 1, 3, dtype=torch.bool)
    (cql_penalty(q, ACTION, 0.1, mask) + cloning_loss(q, ACTION, mask)).sum().backward()
    assert q.grad is not None and bool(torch.isfinite(q.grad).all())


def test_imitation_is_the_cross_entropy_of_the_recorded_action() -> None:
    logits = torch.tensor([[[[0.0, math.log(3.0), 7.0]]]])
    assert cloning_loss(logits, ACTION, torch.tensor([[[[True, True, False]]]])).item() == pytest.approx(math.log(4 / 3))
    assert log_policy(logits[..., :2]).exp().flatten().tolist() == pytest.approx([0.25, 0.75])


def test_expectile_by_hand_and_at_its_minimum() -> None:
    assert expectile_loss(torch.tensor([2.0, -2.0]), 0.9).tolist() == pytest.approx([3.6, 0.4])
    values = torch.tensor([0.0, 1.0])  # the tau-expectile v of {0, 1} solves tau (1 - v) = (1 - tau) v: v = tau
    grid = torch.linspace(0, 1, 1001)
    best = grid[expectile_loss(values[:, None] - grid, 0.8).sum(dim=0).argmin()]
    assert best.item() == pytest.approx(0.8, abs=2e-3)
    with pytest.raises(ValueError, match="0 < tau < 1"):
        expectile_loss(values, 1.0)


def test_advantage_weight_measures_in_the_mean_size_of_learnt_steps() -> None:
    advantage = torch.tensor([[[1.0], [-3.0], [1e6]]])
    learn = torch.tensor([[True, True, False]])
    weight = advantage_weight(advantage, 2.0, learn).flatten().tolist()
    assert weight[:2] == pytest.approx([math.exp(1.0), math.exp(-3.0)])
    assert weight[2] == 20.0, "clipped"
    same = advantage_weight(advantage * 100, 2.0, learn).flatten().tolist()
    assert same == pytest.approx(weight), "the unit of reward does not matter"


def test_supported_keeps_what_is_likely_enough_and_is_never_empty() -> None:
    logits = torch.tensor([0.5, 0.3, 0.14, 0.06]).log()
    assert support_mask(logits, 0.3).tolist() == [True, True, False, False]
    mask = torch.tensor([False, False, True, True])
    assert support_mask(logits, 0.3, mask).tolist() == [False, False, True, True], "relative to what is allowed"
    assert support_mask(logits, 1.0, mask).tolist() == [False, False, True, False]


def test_retrace_by_hand() -> None:
    reward = torch.tensor([[1.0, 2.0, 3.0]])
    discount = torch.tensor([[0.9, 0.9, 0.0]])
    bootstrap = torch.tensor([[10.0, 20.0, 99.0]])
    taken = torch.tensor([[99.0, 8.0, 16.0]])
    trace = torch.tensor([[0.5, 0.25, 1.0]])
    valid = torch.ones(1, 3, dtype=torch.bool)
    third = 3.0
    second = 2.0 + 0.9 * (20.0 + 0.25 * (third - 16.0))
    first = 1.0 + 0.9 * (10.0 + 0.5 * (second - 8.0))
    out = retrace(reward, discount, bootstrap, taken, valid, trace)
    assert out.flatten().tolist() == pytest.approx([first, second, third])


def test_retrace_without_trace_is_one_step_and_on_greedy_data_is_pengs() -> None:
    torch.manual_seed(0)
    reward, bootstrap, taken = torch.randn(3, 2, 7)
    discount, valid = torch.full((2, 7), 0.9), torch.ones(2, 7, dtype=torch.bool)
    none = retrace(reward, discount, bootstrap, taken, valid, torch.zeros(2, 7))
    torch.testing.assert_close(none, one_step(reward, discount, bootstrap))
    greedy = watkins_trace(torch.ones(2, 7, dtype=torch.bool), 0.8)
    on_policy = torch.cat([taken[:, :1], bootstrap[:, :-1]], dim=1)  # the taken action is the one bootstrapped from
    full = retrace(reward, discount, bootstrap, on_policy, valid, greedy)
    torch.testing.assert_close(full, peng_lambda(reward, discount, bootstrap, valid, greedy))


def test_retrace_ignores_padding() -> None:
    reward, bootstrap, taken = torch.randn(3, 1, 6)
    valid = torch.tensor([[True, True, True, False, False, False]])
    trace, discount = torch.full((1, 6), 0.7), torch.full((1, 6), 0.9)
    short = [x[:, :3] for x in (reward, discount, bootstrap, taken, valid, trace)]
    spoiled = reward.masked_fill(~valid, torch.nan), discount, bootstrap, taken.masked_fill(~valid, torch.nan)
    torch.testing.assert_close(retrace(*spoiled, valid, trace)[:, :3], retrace(*short))
    assert linear_recurrence(short[0], short[1]).isfinite().all()
