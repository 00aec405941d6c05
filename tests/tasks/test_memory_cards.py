"""Memory Cards: a game by hand, the rules over many games, and the value of memory."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from seqel.errors import ConfigError, EnvironmentFault, SpaceError
from seqel.tasks.memory_cards import MemoryCards, perfect_memory
from seqel.tasks.registry import register


def played(player: str, games: int, seed: int = 0) -> list[float]:
    register()
    env = gym.make("seqel/MemoryCards-v0")
    rng = np.random.default_rng(seed)
    totals = []
    for game in range(games):
        observation, _ = env.reset(seed=seed + game)
        actions: list[int] = []
        seen, total, done = [observation], 0.0, False
        while not done:
            action = perfect_memory(seen, actions) if player == "perfect" else int(rng.integers(10))
            observation, reward, terminated, truncated, _ = env.step(action)
            seen.append(observation)
            actions.append(action)
            total += float(reward)
            done = terminated or truncated
        totals.append(total)
    return totals


def test_the_rules_hold_over_many_games() -> None:
    rng = np.random.default_rng(0)
    for seed in range(30):
        env = MemoryCards(pairs=3)
        observation, _ = env.reset(seed=seed)
        pictures: dict[int, int] = {}
        for _ in range(500):
            (shown,) = np.flatnonzero((observation > 0) & (observation < 4)).tolist()
            assert pictures.setdefault(shown, int(observation[shown])) == observation[shown]  # never reshuffled
            action = int(rng.integers(6))
            before = observation
            observation, reward, done, truncated, info = env.step(action)
            assert not truncated and info["is_success"] is done
            if reward == 0.0:
                assert action != shown and before[action] != 4
                assert done or (observation[[action, shown]] == 4).all()
            else:
                assert reward == -1.0 and (observation == 4).sum() == (before == 4).sum()
            if done:
                break
        assert done and (observation == 4).all()
        with pytest.raises(EnvironmentFault, match="reset"):
            env.step(0)


def test_memory_is_worth_a_lot() -> None:
    perfect, random = np.mean(played("perfect", 200)), np.mean(played("random", 200))
    assert perfect == pytest.approx(-4.92, abs=0.4)  # over 2,000 games -4.92 and -37.4
    assert random == pytest.approx(-37.4, abs=2.5)


def test_perfect_memory_never_errs_about_cards_that_were_shown() -> None:
    pair = [np.array(seen) for seen in ([1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0])]
    assert perfect_memory(pair, [1, 0]) == 0  # card 0 was seen to be the partner of card 2
    assert perfect_memory(pair[:1], []) == 1  # nothing known: the first other card
    assert perfect_memory([pair[0], pair[0]], [1]) == 2  # not what was named in vain


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        MemoryCards(pairs=0)
    env = MemoryCards()
    env.reset(seed=0)
    with pytest.raises(SpaceError, match="got 10"):
        env.step(10)
