"""Car Flag: the published dynamics by hand; only the sign distinguishes the flags."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from seqel.errors import EnvironmentFault, SpaceError
from seqel.tasks.car_flag import CarFlag
from seqel.tasks.registry import register


def test_the_limit_is_200_steps() -> None:
    register()
    env = gym.make("seqel/CarFlag-v0")
    env.reset(seed=0)
    for step in range(200):
        _, reward, terminated, truncated, info = env.step(1)
        assert (reward, terminated, truncated) == (0.0, False, step == 199)
    assert info["is_success"] is False


def test_a_push_by_hand() -> None:
    env = CarFlag()
    start = float(env.reset(seed=3)[0][0])
    seen = [env.step(2)[0] for _ in range(3)]
    np.testing.assert_allclose([s[1] for s in seen], [0.0015, 0.003, 0.0045], atol=1e-7)
    np.testing.assert_allclose([s[0] for s in seen], start + np.array([0.0015, 0.0045, 0.009]), atol=1e-6)
    slow = [float(env.step(0)[0][1]) for _ in range(6)]
    np.testing.assert_allclose(slow, 0.0045 - 0.0015 * np.arange(1, 7), atol=1e-7)


def test_the_top_speed() -> None:
    env = CarFlag()
    env.reset(seed=0)
    env._position = -0.9  # room to gather speed
    speeds, done = [], False
    while not done:
        observation, _, done, _, _ = env.step(2)
        speeds.append(float(observation[1]))
    assert max(speeds) == speeds[-1] == pytest.approx(0.07)
    assert speeds.index(max(speeds)) < len(speeds) - 1  # reached, and held


@pytest.mark.parametrize("way", [0, 2])
def test_only_the_sign_shows_which_flag_is_good(way: int) -> None:
    outcomes = []
    for seed in range(60):
        env = CarFlag()
        trace = [env.reset(seed=seed)[0]]
        done, sign = False, 0.0
        while not done:
            observation, reward, done, _, info = env.step(way)
            assert observation[2] == 0 or abs(observation[0] - 0.5) <= 0.2 + 1e-6
            sign = observation[2] or sign
            trace.append(observation)
        assert reward == (1.0 if info["is_success"] else -1.0)
        if way == 2:
            assert sign == reward  # on the way right the sign was passed: +1 where the right flag is the good one
        else:
            assert sign == 0.0  # on the way left the sign is never visible
        outcomes.append(reward)
    assert abs(np.mean(outcomes)) < 0.4


def test_wrong_use_is_refused() -> None:
    env = CarFlag()
    with pytest.raises(EnvironmentFault, match="reset"):
        env.step(1)
    env.reset(seed=0)
    with pytest.raises(SpaceError, match="got 3"):
        env.step(3)
