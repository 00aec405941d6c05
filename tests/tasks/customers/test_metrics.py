"""Figures of service teams, by hand, and that they agree with the rewards of whole shifts."""

from __future__ import annotations

from functools import partial
from itertools import chain

import numpy as np
import pytest

import seqel
from seqel.errors import DataError
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.tasks.customers import CustomerService, CustomerServiceMetrics, RecordCustomers, Shortlist
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
    found = CustomerServiceMetrics.of(some, COSTS)
    assert (found.resolution, found.containment) == (3 / 8, 6 / 8)
    assert found.false_containment == found.repeat_contacts == pytest.approx(found.containment - found.resolution)
    assert (found.escalations_needed, found.escalations_not_needed) == (1 / 8, 1 / 8)
    assert found.turns == 13 / 8  # six questions, and one answer or handing over for each of the seven who stayed
    spent = 5.0 + 1.0 + 0.4 + 0.3 + 1.0 + 0.15 * 5  # five of the questions were answered
    assert found.cost_per_resolved == pytest.approx(spent / 3)
    assert found.reward == pytest.approx((3.0 - spent) / 8)
    assert "resolution               37.5%" in str(found) and "customers                8" in str(found)


def test_without_a_resolved_customer() -> None:
    found = CustomerServiceMetrics.of([customer("left", 1, -1.0)], COSTS)
    assert found.cost_per_resolved == np.inf and found.resolution == 0.0
    with pytest.raises(DataError, match="customers: expected at least one"):
        CustomerServiceMetrics.of([], COSTS)


def test_figures_agree_with_rewards() -> None:
    env = CustomerService(corpus(), "test", COSTS)
    played = play(env, Lookahead(env, classify, draws=8), 30, seed=0)
    found = CustomerServiceMetrics.of(played.customers, COSTS)
    assert found.reward == pytest.approx(played.reward)
    assert found.resolution == pytest.approx(played.outcomes["right"])
    assert found.customers == 30 * 8


def test_a_ledger_notes_each_customer_once() -> None:
    noted: dict[int, list[dict[str, object]]] = {}
    env = RecordCustomers(
        Shortlist(CustomerService(corpus(), "test", COSTS), partial(Evidence, classifier=classify)), noted
    )
    total = 0.0
    env.action_space.seed(0)
    for shift in range(5):
        env.reset(seed=shift)
        over = False
        while not over:
            _, reward, over, _, _ = env.step(int(env.action_space.sample()))
            total += reward
    env.reset(seed=0)  # is not finished
    env.step(0)
    assert list(noted) == [0, 1, 2, 3, 4] and {len(some) for some in noted.values()} == {8}
    assert CustomerServiceMetrics.of(chain(*noted.values()), COSTS).reward == pytest.approx(total / 40)


def test_shifts_that_are_played_twice_count_once() -> None:
    def make() -> Shortlist:
        return Shortlist(CustomerService(corpus(), "test", COSTS), partial(Evidence, classifier=classify))

    noted: dict[int, list[dict[str, object]]] = {}
    env = make()
    spec, action = ObservationSpec.from_space(env.observation_space), ActionSpec.from_space(env.action_space)
    network = QNetwork(NetworkConfig(width=16, layers=1, heads=2, context=8), spec, action).eval()
    played = seqel.evaluate(seqel.Agent(network), lambda: RecordCustomers(make(), noted), 40, seed=0)  # 32 environments
    assert sorted(noted) == list(range(40))
    reward = CustomerServiceMetrics.of(chain(*noted.values()), COSTS).reward
    assert reward == pytest.approx(played.mean / 8)


def test_without_seeds_each_shift_is_another_one() -> None:
    noted: dict[int, list[dict[str, object]]] = {}
    env = RecordCustomers(CustomerService(corpus(), "test", COSTS), noted)
    for _ in range(3):
        env.reset()
        while not env.step(0)[2]:
            pass
    assert list(noted) == [-1, -2, -3]
