"""Retrace by hand, in its two limits, and with padding."""

from __future__ import annotations

import pytest
import torch

from seqel.losses.returns import linear_recurrence, one_step, peng_lambda, retrace, watkins_trace


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


def test_retrace_without_trace_is_one_step_and_on_greedy_data_equals_peng() -> None:
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
