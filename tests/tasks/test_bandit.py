"""Bandit trials: the rules, the Gittins index against dynamic programming, and what each player gets."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from seqel.errors import ConfigError, EnvironmentFault, SpaceError
from seqel.tasks.bandit import BanditTrials, gittins_action, gittins_indices


def play(env: BanditTrials, choose: Callable[[list[int], list[float]], int]) -> tuple[float, dict[str, Any]]:
    """Return the return and the last info of one episode; `choose` gets the actions and rewards so far."""
    assert env.reset()[0] == 0
    actions: list[int] = []
    rewards: list[float] = []
    terminated = False
    info: dict[str, Any] = {}
    while not terminated:
        actions.append(choose(actions, rewards))
        observation, reward, terminated, truncated, info = env.step(actions[-1])
        assert observation == 0 and reward in (0.0, 1.0) and not truncated
        assert terminated or info == {}
        rewards.append(reward)
    assert len(rewards) == env.pulls
    return sum(rewards), info


def mean_return(choose: Callable[[list[int], list[float]], int], episodes: int) -> tuple[float, float]:
    """Return the mean and its standard error with 5 arms and 100 pulls."""
    env = BanditTrials()
    env.reset(seed=0)
    returns = [play(env, choose)[0] for _ in range(episodes)]
    return float(np.mean(returns)), float(np.std(returns) / np.sqrt(episodes))


def test_probabilities_are_uniform_and_an_arm_keeps_its_own() -> None:
    env = BanditTrials(arms=3, pulls=400)
    env.reset(seed=0)
    shares = np.array([play(env, lambda actions, rewards: 1)[0] for _ in range(400)]) / 400
    assert abs(shares.mean() - 0.5) < 4 * np.sqrt(1 / 12 / 400)
    assert shares.var() == pytest.approx(1 / 12, rel=0.2)  # were it drawn again at every pull: 1 / 1600
    assert np.histogram(shares, 4, (0.0, 1.0))[0].min() > 60  # 100 expected


def test_success_is_the_best_arm_at_the_end() -> None:
    env = BanditTrials(arms=2, pulls=2000)
    for seed in range(10):
        env.reset(seed=seed)
        totals = []
        for arm in (0, 1):
            env.reset(seed=seed)  # the same bandit
            pulls = [env.step(arm) for _ in range(2000)]
            totals.append((sum(pull[1] for pull in pulls), pulls[-1][4]["is_success"]))
        assert {success for _, success in totals} == {True, False}
        assert max(totals)[1] or abs(totals[0][0] - totals[1][0]) < 100, "the arm that paid more is the best one"


def test_gittins_indices_by_hand() -> None:
    indices = gittins_indices(20)
    # One pull left: the posterior mean. Two left, untried: 1/2 + (1/2) max(2/3, m) + (1/2) m = 2 m, so m = 5/9.
    assert indices[1, 0, 0] == pytest.approx(0.5, abs=1e-3)
    assert indices[1, 3, 1] == pytest.approx(4 / 6, abs=1e-3)
    assert indices[2, 0, 0] == pytest.approx(5 / 9, abs=1e-3)
    assert (np.diff(indices[1:, 0, 0]) > 0).all(), "an untried arm is worth more, the more pulls are left"


def test_the_index_is_close_to_the_optimum_where_that_can_be_computed() -> None:
    def value(pulls: int, index: bool) -> float:
        table = gittins_indices(pulls)

        @cache
        def of(ones: int, zeros: int, other_ones: int, other_zeros: int) -> float:
            left = pulls - ones - zeros - other_ones - other_zeros
            if left == 0:
                return 0.0
            p, q = (1 + ones) / (2 + ones + zeros), (1 + other_ones) / (2 + other_ones + other_zeros)
            first = p * (1 + of(ones + 1, zeros, other_ones, other_zeros))
            first += (1 - p) * of(ones, zeros + 1, other_ones, other_zeros)
            second = q * (1 + of(ones, zeros, other_ones + 1, other_zeros))
            second += (1 - q) * of(ones, zeros, other_ones, other_zeros + 1)
            if not index:
                return max(first, second)
            return first if table[left, ones, zeros] >= table[left, other_ones, other_zeros] else second

        return of(0, 0, 0, 0)

    assert value(2, index=False) == pytest.approx(13 / 12)  # by hand: 1/2 + 1/2 * 2/3 + 1/2 * 1/2
    assert 0.9999 < value(10, index=True) / value(10, index=False) <= 1.0


def test_the_gittins_player_gets_what_the_docstring_says() -> None:
    mean, error = mean_return(lambda actions, rewards: gittins_action(actions, rewards, 5, 100), 200)
    assert abs(mean - 78.4) < 4 * error


def test_players_without_a_long_memory_get_what_the_docstring_says() -> None:
    rng = np.random.default_rng(0)
    for choose, expected in (
        (lambda actions, rewards: 2, 50.0),
        (lambda actions, rewards: int(rng.integers(5)), 50.0),
        (lambda actions, rewards: (actions[-1] + (rewards[-1] == 0)) % 5 if actions else 0, 68.2),
    ):
        mean, error = mean_return(choose, 500)
        assert abs(mean - expected) < 4 * error


def test_same_seed_same_bandit() -> None:
    def paid(seed: int) -> list[float]:
        env = BanditTrials()
        env.reset(seed=seed)
        return [env.step(pull % 5)[1] for pull in range(100)]

    assert paid(3) == paid(3)
    assert paid(3) != paid(4)


def test_misuse_is_reported() -> None:
    with pytest.raises(ConfigError, match="arms: expected an integer of at least 2, got 1"):
        BanditTrials(arms=1)
    with pytest.raises(ConfigError, match="pulls: expected an integer of at least 1, got 0"):
        BanditTrials(pulls=0)
    env = BanditTrials(pulls=1)
    with pytest.raises(EnvironmentFault, match="reset"):
        env.step(0)
    env.reset()
    with pytest.raises(SpaceError, match=r"expected an arm in Discrete\(5\), got -1"):
        env.step(-1)
    env.step(np.int64(4))
    with pytest.raises(EnvironmentFault, match="reset"):
        env.step(0)
