"""The return scale: the size of recent returns, proportional to the rewards."""

from __future__ import annotations

import numpy as np
import pytest

from seqel.training.return_scale import ReturnScale


def by_hand(rewards: list[list[float]], discount: float, memory: float) -> float:
    """Return the root of the weighted mean square of every step's return, in float64, one step at a time."""
    square = weight = 0.0
    for episode in rewards:
        squares, later = [], 0.0
        for reward in reversed(episode):
            later = reward + discount * later
            squares.append(later**2)
        square = memory * square + (1 - memory) * float(np.mean(squares))
        weight = memory * weight + (1 - memory)
    return (square / weight) ** 0.5


def test_the_scale_equals_a_loop_by_hand() -> None:
    rng = np.random.default_rng(0)
    rewards = [rng.normal(size=n).astype(np.float32).tolist() for n in (1, 7, 30, 4)]
    scale = ReturnScale(0.9, memory=0.8)
    for episode in rewards:
        scale.observe(np.array(episode, np.float32))
    assert scale.value == pytest.approx(by_hand(rewards, 0.9, 0.8), rel=1e-6)


def test_the_scale_is_one_until_the_first_reward_and_then_exact() -> None:
    scale = ReturnScale(1.0)
    assert scale.value == 1.0
    scale.observe(np.zeros(5, np.float32))
    assert scale.value == 1.0, "there is nothing to measure yet"
    scale = ReturnScale(1.0)
    scale.observe(np.array([0.0, 0.0, 3.0], np.float32))
    assert scale.value == pytest.approx(3.0), "not biased to zero at the start"


@pytest.mark.parametrize("factor", [0.01, 100.0, -1.0])
def test_rule_7_the_scale_is_proportional_to_the_rewards(factor: float) -> None:
    plain, scaled = ReturnScale(0.95), ReturnScale(0.95)
    rng = np.random.default_rng(1)
    for _ in range(20):
        reward = rng.normal(size=12)
        plain.observe(reward.astype(np.float32))
        scaled.observe((factor * reward).astype(np.float32))
    assert scaled.value == pytest.approx(abs(factor) * plain.value, rel=1e-5)


def test_old_episodes_lose_weight() -> None:
    scale = ReturnScale(0.0, memory=0.9)
    for reward in [100.0] * 50 + [1.0] * 200:
        scale.observe(np.array([reward], np.float32))
    assert scale.value == pytest.approx(1.0, abs=0.01)


def test_a_restored_scale_equals_the_saved_one() -> None:
    one, other = ReturnScale(0.9), ReturnScale(0.9)
    one.observe(np.ones(4, np.float32))
    other.load_state_dict(one.state_dict())
    for scale in (one, other):
        scale.observe(np.full(3, 2.0, np.float32))
    assert one.value == other.value


def test_a_known_scale_is_used_at_the_start_and_loses_weight_like_others() -> None:
    scale = ReturnScale(0.0, memory=0.75)
    scale.begin(3.0)
    assert scale.value == 3.0
    scale.observe(np.array([5.0], np.float32))
    assert scale.value == pytest.approx((0.75 * 3.0**2 + 0.25 * 5.0**2) ** 0.5)
