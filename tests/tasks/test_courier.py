"""Courier: what hurrying earns and costs, and the best policy within a limit."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import seqel  # noqa: F401 (registers the tasks)
from seqel.errors import ConfigError, EnvironmentFault, SpaceError
from seqel.tasks.courier import KINDS, Courier, best_within


def play(price: float, episodes: int, roads: int = 30) -> tuple[float, float]:
    """Play episodes that hurry where gain >= price * risk; return the mean reward and cost."""
    env, reward, cost = Courier(roads), 0.0, 0.0
    for seed in range(episodes):
        seen, _ = env.reset(seed=seed)
        risk, over = seen[:KINDS].copy(), False
        while not over:
            kind = int(seen[KINDS:-1].argmax())
            seen, earned, over, _, info = env.step(int(seen[-1] >= price * risk[kind]))
            reward, cost = reward + earned, cost + info["cost"]
    return reward / episodes, cost / episodes


@pytest.mark.parametrize("limit", [1.0, 3.0, 5.0, 9.0, 20.0])
def test_the_best_policy_earns_and_costs_what_the_formulas_say(limit: float) -> None:
    best = best_within(limit)
    reward, cost = play(best.price, 2_000)
    assert reward == pytest.approx(best.reward, rel=0.03)
    assert cost == pytest.approx(min(limit, 15.0), rel=0.05)


def test_no_other_price_is_better_within_the_limit() -> None:
    best = best_within(3.0)
    for price in (0.8 * best.price, 1.2 * best.price):
        reward, cost = play(price, 2_000)
        assert cost > 3.1 or reward < best.reward


def test_one_episode_by_hand() -> None:
    env = Courier(roads=2)
    seen, _ = env.reset(seed=3)
    risk = seen[:KINDS].copy()
    assert (risk > 0).all() and not seen[KINDS:].any()
    seen, reward, over, _, info = env.step(1)  # the briefing: nothing to hurry for
    assert (reward, info["cost"], over) == (0.0, 0.0, False)
    assert not seen[:KINDS].any()
    kind, gain = int(seen[KINDS:-1].argmax()), float(seen[-1])
    seen, reward, over, _, info = env.step(1)
    assert reward == pytest.approx(gain) and info["cost"] == pytest.approx(float(risk[kind])) and not over
    _, reward, over, _, info = env.step(0)
    assert (reward, info["cost"], over) == (0.0, 0.0, True)


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ConfigError, match="roads"):
        Courier(roads=0)
    with pytest.raises(ConfigError, match="limit"):
        best_within(-1.0)
    env = Courier(roads=1)
    with pytest.raises(EnvironmentFault, match="reset"):
        env.step(0)
    env.reset(seed=0)
    with pytest.raises(SpaceError, match="expected an action"):
        env.step(2)


def test_it_is_registered() -> None:
    env = gymnasium.make("seqel/Courier-v0")
    first, _ = env.reset(seed=0)
    assert np.asarray(first).shape == (2 * KINDS + 1,)
