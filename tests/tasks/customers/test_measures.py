"""Figures of service teams, by hand, and that they agree with the rewards of whole shifts."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from seqel.errors import DataError
from seqel.tasks.customers import CustomerService, Ledger, ServiceMetrics, Shortlist
from seqel.tasks.customers.costs import Costs
from seqel.tasks.customers.players import Evidence, Lookahead, play
from support_customers import classify, corpus

COSTS = Costs(wrong_of={"card lost": -5.0})


def customer(outcome: str, asked: int, reward: float) -> dict[str, object]:
    return {"intent": 0, "outcome": outcome, "asked": asked, "reward": reward}


def test_figures_by_hand() -> None:
    some = [
        customer("right", 0, 1.0), customer("right", 2, 1.0), customer("wrong", 0, -5.0), customer("left", 2, -1.0),
        customer("handed over", 1, -0.4), customer("handed over, out of scope", 0, -0.3), customer("right", 0, 1.0),
        customer("wrong", 1, -1.0),
    ]  # fmt: skip
    found = ServiceMetrics.of(some, COSTS)
    assert (found.resolution, found.containment) == (3 / 8, 6 / 8)
    assert found.false_containment == found.repeat_contacts == pytest.approx(found.containment - found.resolution)
    assert (found.escalations_needed, found.escalations_not_needed) == (1 / 8, 1 / 8)
    assert found.turns == 13 / 8  # six questions, and one answer or handing over for each of the seven who stayed
    spent = 5.0 + 1.0 + 0.4 + 0.3 + 1.0 + 0.15 * 5  # five of the questions were answered
    assert found.cost_per_resolved == pytest.approx(spent / 3)
    assert found.reward == pytest.approx((3.0 - spent) / 8)
    assert "resolution               37.5%" in str(found) and "customers                8" in str(found)


def test_without_a_resolved_customer() -> None:
    found = ServiceMetrics.of([customer("left", 1, -1.0)], COSTS)
    assert found.cost_per_resolved == np.inf and found.resolution == 0.0
    with pytest.raises(DataError, match="customers: expected at least one"):
        ServiceMetrics.of([], COSTS)


def test_figures_agree_with_rewards() -> None:
    env = CustomerService(corpus(), "test", COSTS)
    played = play(env, Lookahead(env, classify, draws=8), 30, seed=0)
    found = ServiceMetrics.of(played.customers, COSTS)
    assert found.reward == pytest.approx(played.reward)
    assert found.resolution == pytest.approx(played.outcomes["right"])
    assert found.customers == 30 * 8


def test_a_ledger_notes_each_customer_once() -> None:
    noted: list[dict[str, object]] = []
    env = Ledger(Shortlist(CustomerService(corpus(), "test", COSTS), partial(Evidence, classifier=classify)), noted)
    total = 0.0
    env.action_space.seed(0)
    for shift in range(5):
        env.reset(seed=shift)
        over = False
        while not over:
            _, reward, over, _, _ = env.step(int(env.action_space.sample()))
            total += reward
    assert len(noted) == 5 * 8
    assert ServiceMetrics.of(noted, COSTS).reward == pytest.approx(total / 40)
