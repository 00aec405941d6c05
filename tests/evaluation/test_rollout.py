"""Greedy episodes: their seeds, their figures, and refused arguments."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from seqel.agents.agent import Agent
from seqel.errors import ConfigError, SpaceError
from seqel.evaluation.rollout import evaluate, pooled, summarise
from support import SPACE, network


class Seeded(gym.Env[Any, Any]):
    """The reward depends on the seed alone; short episodes for even seeds, long ones for odd seeds."""

    observation_space, action_space = SPACE, gym.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.seed = -1 if seed is None else seed
        self.left = 2 if self.seed % 2 == 0 else 9
        return np.zeros(3, np.float32), {}

    def step(self, action: int) -> Any:
        self.left -= 1
        info = {"is_success": self.seed % 4 == 0} if self.left == 0 else {}
        return np.zeros(3, np.float32), float(self.seed) if self.left == 0 else 0.0, self.left == 0, False, info


@pytest.mark.parametrize("environments", [1, 3, 7, 32])
def test_rule_6_episode_n_has_seed_s_plus_n_whatever_the_parallelism(environments: int) -> None:
    result = evaluate(Agent(network()), Seeded, episodes=20, seed=40, environments=environments)
    assert result.returns == [float(40 + n) for n in range(20)]
    assert result.lengths == [2 if n % 2 == 0 else 9 for n in range(20)], "short episodes are not over-counted"
    assert result.mean == 49.5 and result.seed == 40
    assert result.success == 5 / 20
    assert result.success_interval is not None and result.success_interval[0] < 0.25 < result.success_interval[1]
    assert result.interval[0] < 49.5 < result.interval[1]


def test_training_seeds_are_refused_for_evaluation() -> None:
    with pytest.raises(ConfigError, match="are used in training"):
        evaluate(Agent(network()), Seeded, episodes=1, seed=1 << 30)
    with pytest.raises(ConfigError, match="at least 1"):
        evaluate(Agent(network()), Seeded, episodes=0)


def test_an_environment_with_other_spaces_is_refused() -> None:
    with pytest.raises(SpaceError, match="was trained on"):
        evaluate(Agent(network()), "CartPole-v1", episodes=1)
    with pytest.raises(SpaceError, match="actions"):
        evaluate(Agent(network(actions=2)), Seeded, episodes=1)


class Circles(Seeded):
    """Ends only for even seeds."""

    def step(self, action: int) -> Any:
        observation, reward, over, cut, info = super().step(action)
        return observation, reward + 1.0, over and self.seed % 2 == 0, cut, info if self.seed % 2 == 0 else {}


@pytest.mark.parametrize("environments", [1, 3, 8])
def test_an_episode_that_never_ends_is_cut_off_and_reported(environments: int) -> None:
    result = evaluate(Agent(network()), Circles, episodes=6, seed=40, environments=environments, limit=20)
    assert result.lengths == [2, 20, 2, 20, 2, 20] and result.truncated == 3
    assert result.returns[1] == 20.0 + 41.0, "its return so far counts"
    assert result.success == 2 / 6, "40 and 44; truncated episodes are no success"
    assert "3 of them truncated" in str(result)
    with pytest.raises(ConfigError, match="limit"):
        evaluate(Agent(network()), Circles, episodes=1, limit=0)


def test_pooled_sets_are_summarised_as_one() -> None:
    first = summarise([1.0, 2.0], [3, 4], np.array([0.0, 1.0]), seed=10, truncated=1)
    second = summarise([6.0], [5], np.array([1.0]), seed=90)
    both = pooled(first, second)
    assert both == summarise([1.0, 2.0, 6.0], [3, 4, 5], np.array([0.0, 1.0, 1.0]), seed=10, truncated=1)
    assert (both.mean, both.success, both.successes, both.truncated) == (3.0, 2 / 3, [0.0, 1.0, 1.0], 1)
    unknown = summarise([6.0], [5], np.array([np.nan]), seed=90)
    assert pooled(first, unknown).success is None and pooled(unknown, first).successes is None
