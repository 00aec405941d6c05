"""The multiplier of a constraint follows the costs of episodes."""

from __future__ import annotations

import numpy as np
import pytest

from seqel.tasks.courier import best_within
from seqel.training.online.multiplier import INTEGRAL, MEMORY, PROPORTIONAL, CostMultiplier


def test_by_hand() -> None:
    found = CostMultiplier(limit=4.0)
    assert found.value(scale=10.0) == 0.0
    found.observe(5.0)  # 25 % above the limit
    assert found.value(scale=10.0) == pytest.approx((INTEGRAL * 0.25 + PROPORTIONAL * 0.25) * 10.0 / 4.0)
    found.observe(1.0)
    mean = 5.0 - MEMORY * 4.0  # 4.8
    error = (mean - 4.0) / 4.0
    assert found.error == pytest.approx(error)
    assert found.integral == pytest.approx(INTEGRAL * (0.25 + error))


def test_errors_are_bounded_and_the_multiplier_is_never_negative() -> None:
    found = CostMultiplier(limit=1.0)
    found.observe(1e9)
    assert found.error == 1.0
    for _ in range(1_000):
        found.observe(0.0)
    assert found.error >= -1.0
    assert found.value(1.0) == 0.0


def test_a_limit_of_zero_has_the_unit_of_cost() -> None:
    found = CostMultiplier(limit=0.0)
    found.observe(0.5)
    assert found.error == 0.5


def test_saved_and_restored() -> None:
    one, other = CostMultiplier(2.0), CostMultiplier(2.0)
    one.observe(3.0)
    other.load_state_dict(one.state_dict())
    for found in (one, other):
        found.observe(2.5)
    assert one.value(1.0) == other.value(1.0) > 0.0


@pytest.mark.parametrize("limit", [1.0, 3.0, 8.0])
@pytest.mark.parametrize("delay", [0, 10])
def test_it_finds_the_price_of_the_best_policy(limit: float, delay: int) -> None:
    """Against policies that follow the multiplier at once or ten episodes later, in a task whose best price is known."""
    rng, scale = np.random.default_rng(0), 5.0
    found, prices, costs = CostMultiplier(limit), [0.0] * (delay + 1), []
    for _ in range(6_000):
        prices.append(found.value(scale))
        gain, risk = rng.uniform(size=(2, 30))
        costs.append(float((risk * (gain >= prices[-1 - delay] * risk)).sum()))
        found.observe(costs[-1])
    assert np.mean(costs[-2_000:]) == pytest.approx(limit, rel=0.05)
    assert np.mean(prices[-2_000:]) == pytest.approx(best_within(limit).price, rel=0.15)
