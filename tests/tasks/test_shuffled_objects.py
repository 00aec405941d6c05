"""Shuffled objects: the rules over many episodes, a player who remembers and one who guesses, and the same as a vector."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import seqel
from seqel.errors import ConfigError, EnvironmentFault, SpaceError
from seqel.tasks.registry import register
from seqel.tasks.shuffled_objects import COLOURS, ShuffledObjects, colour_of_the_marked


def test_gymnasium_finds_nothing_wrong_with_the_flat_variant() -> None:
    check_env(ShuffledObjects(flat=True), skip_render_check=True)


def test_the_rules_hold_and_memory_is_all_it_takes() -> None:
    register()
    env = gym.make("seqel/ShuffledObjects-v0").unwrapped
    right = guessed = 0.0
    for seed in range(200):
        seen, _ = env.reset(seed=seed)
        wanted = colour_of_the_marked(seen["entities"])
        assert seen["entities"][:, -1].sum() == 1
        for step in range(11):
            assert (seen["entities"][:, :COLOURS].sum(axis=0) == 2).all() and seen["present"].all()
            seen, reward, terminated, truncated, info = env.step(wanted if seed % 2 else 0)
            assert seen["entities"][:, -1].sum() == 0, "the mark is seen once"
            assert (terminated, truncated) == (step == 10, False) and (step == 10 or reward == 0.0)
        assert info["is_success"] == (reward == 1.0)
        right, guessed = right + float(reward) * (seed % 2), guessed + float(reward) * (1 - seed % 2)
    assert right == 100 and 10 <= guessed <= 40
    with pytest.raises(EnvironmentFault, match="reset"):
        env.step(0)


def test_the_flat_form_has_the_same_numbers() -> None:
    whole, flat = ShuffledObjects(), ShuffledObjects(flat=True)
    for seed in range(3):
        np.testing.assert_array_equal(whole.reset(seed=seed)[0]["entities"].reshape(-1), flat.reset(seed=seed)[0])
        np.testing.assert_array_equal(whole.step(0)[0]["entities"].reshape(-1), flat.step(0)[0])


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of 4"):
        ShuffledObjects(objects=6)
    with pytest.raises(ConfigError, match="at least 1"):
        ShuffledObjects(delay=0)
    env = ShuffledObjects()
    env.reset(seed=0)
    with pytest.raises(SpaceError, match="got 4"):
        env.step(4)


@pytest.mark.slow
def test_an_agent_that_knows_they_are_a_set_learns_it() -> None:
    settings = {
        "steps": 20_000, "validation.every": 1_000, "network.width": 64, "learner.learning_rate": 1e-3, "threads": 1,
        "replay.replay_ratio": 16.0, "validation.threshold": 0.95, "validation.stop": True, "device": "cpu",
    }  # fmt: skip
    agent = seqel.train(ShuffledObjects, seed=0, settings=settings, progress=False)
    assert seqel.evaluate(agent, ShuffledObjects, 200, seed=10_000).mean >= 0.93
