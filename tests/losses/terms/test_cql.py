"""Conservative Q-learning: the penalty by hand, with masks, and on padding."""

from __future__ import annotations

import math

import pytest
import torch

from seqel.losses.terms.cloning import cloning_loss
from seqel.losses.terms.cql import cql_penalty

ACTION = torch.tensor([[[1]]])


def test_cql_penalty_by_hand() -> None:
    q = torch.tensor([[[[0.0, math.log(3.0)]]]])  # logsumexp = log 4
    assert cql_penalty(q, ACTION, 1.0).item() == pytest.approx(math.log(4.0) - math.log(3.0))
    # a temperature of 1/2 doubles the values inside: (log(1 + 9)) / 2
    assert cql_penalty(q, ACTION, 0.5).item() == pytest.approx(math.log(10.0) / 2 - math.log(3.0))


def test_cql_penalty_uses_allowed_actions_only() -> None:
    q = torch.tensor([[[[50.0, 1.0, 2.0]]]])
    mask = torch.tensor([[[[False, True, True]]]])
    assert cql_penalty(q, ACTION, 1.0, mask).item() == pytest.approx(math.log(math.e + math.e**2) - 1.0, rel=1e-5)


def test_a_row_that_allows_nothing_has_finite_gradients() -> None:
    q = torch.zeros(1, 1, 1, 3, requires_grad=True)
    mask = torch.zeros(1, 1, 1, 3, dtype=torch.bool)
    (cql_penalty(q, ACTION, 0.1, mask) + cloning_loss(q, ACTION, mask)).sum().backward()
    assert q.grad is not None and bool(torch.isfinite(q.grad).all())
