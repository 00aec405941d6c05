"""Combination Lock: its rules, what chance and memory are worth in it, and that it is learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
import pytest

import seqel
from seqel.errors import ConfigError, EnvironmentFault, SpaceError
from seqel.tasks.combination_lock import CombinationLock, FlatCombinationLock, optimal_action
from seqel.tasks.registry import register

SETTINGS = {
    "objective.discount": 0.0, "learner.learning_rate": 1e-3, "validation.every": 1_000,
    "validation.threshold": 0.99, "validation.stop": True, "threads": 1, "device": "cpu",
}  # fmt: skip


@pytest.mark.parametrize("lock", [CombinationLock, FlatCombinationLock])
def test_ids_make_the_locks(lock: type[CombinationLock]) -> None:
    register()
    assert isinstance(gym.make(f"seqel/{lock.__name__}-v0").unwrapped, lock)


def test_the_combination_is_shown_once_and_read_at_the_last_step() -> None:
    env = CombinationLock(dials=2, positions=3, delay=2)
    first, _ = env.reset(seed=0)
    target = first[:2] - 1
    assert first[2] == 0 and ((target >= 0) & (target < 3)).all()
    wrong = (target + 1) % 3
    assert env.step(target)[0].tolist() == [0, 0, 0]
    observation, reward, terminated, _, _ = env.step(target)
    assert observation.tolist() == [0, 0, 1] and reward == 0.0 and not terminated
    _, reward, terminated, truncated, info = env.step(np.array([target[0], wrong[1]]))
    assert (reward, terminated, truncated, info) == (0.5, True, False, {"is_success": False})
    with pytest.raises(EnvironmentFault, match="reset"):
        env.step(target)


def test_the_best_return_is_1_and_chance_gets_a_fifth() -> None:
    best: list[float] = []
    chance: list[float] = []
    env, rng, opened = CombinationLock(), np.random.default_rng(0), 0
    for seed in range(600):
        for totals, informed in ((best, True), (chance, False)):
            seen, done = [env.reset(seed=seed)[0]], False
            while not done:
                action = optimal_action(seen) if informed else rng.integers(5, size=3)
                observation, reward, done, _, info = env.step(action)
                seen.append(observation)
            totals.append(reward)
            opened += not informed and info["is_success"]
    assert set(best) == {1.0}
    assert np.mean(chance) == pytest.approx(0.2, abs=0.04) and opened < 20


def test_the_flat_lock_is_the_same_lock() -> None:
    one, flat = CombinationLock(), FlatCombinationLock()
    assert flat.action_space == gym.spaces.Discrete(125)
    for seed in range(20):
        first, _ = one.reset(seed=seed)
        np.testing.assert_array_equal(flat.reset(seed=seed)[0], first)
        right = optimal_action([first])
        number = int(np.ravel_multi_index(tuple(right), (5, 5, 5)))
        for _ in range(5):
            ends = one.step(right), flat.step(cast(Any, np.int64(number)))
        assert ends[0][1:] == ends[1][1:] == (1.0, True, False, {"is_success": True})


def test_what_is_no_lock_and_no_action_is_refused() -> None:
    for wrong in ({"dials": 0}, {"positions": 1}, {"delay": 0}):
        with pytest.raises(ConfigError, match="at least 1 dial"):
            CombinationLock(**wrong)
    env, flat = CombinationLock(), FlatCombinationLock()
    env.reset(seed=0)
    flat.reset(seed=0)
    with pytest.raises(SpaceError, match="3 positions from 0 to 4"):
        env.step(np.array([0, 5, 0]))
    with pytest.raises(SpaceError, match="0 to 124"):
        flat.step(125)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="from its first"):
        optimal_action([])


@pytest.mark.slow
def test_three_dials_are_learned_to_the_optimum(tmp_path: Path) -> None:
    agent = seqel.train(
        "seqel/CombinationLock-v0",
        steps=25_000,
        settings=SETTINGS,
        out=tmp_path / "run",
        progress=None,
    )
    assert seqel.evaluate(agent, "seqel/CombinationLock-v0", 200, seed=10_000).mean > 0.99
