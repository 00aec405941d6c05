"""Copy and associative recall: the rules by hand, players that remember and players that do not."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from seqel.errors import ConfigError, EnvironmentFault, SpaceError
from seqel.tasks.registry import register
from seqel.tasks.sequences import AssociativeRecall, Copy, copied_symbol, recalled_value
from support import play

TASKS = {
    "Copy": (Copy, lambda seen: copied_symbol(seen, 8)),
    "AssociativeRecall": (AssociativeRecall, lambda seen: recalled_value(seen, 8)),
}


@pytest.mark.parametrize("name", TASKS)
def test_ids_make_the_tasks(name: str) -> None:
    register()
    assert isinstance(gymnasium.make(f"seqel/{name}-v0").unwrapped, TASKS[name][0])


def test_a_copy_by_hand() -> None:
    env = Copy(symbols=4, length=3, delay=2)
    rewards, seen, info = play(env, lambda seen: copied_symbol(seen, 4), seed=0)
    shown = [int(symbol) for symbol in seen[:3]]
    assert all(0 <= symbol < 4 for symbol in shown)
    assert [int(symbol) for symbol in seen[3:]] == [4, 4, 5, 5, 5, 4]  # blanks, requests, the end
    assert rewards == [0.0] * 5 + [1 / 3] * 3 and info == {"is_success": True}
    asked = iter([0, 0, 0, 0, 0, shown[0], (shown[1] + 1) % 4, shown[2]])
    rewards, _, info = play(env, lambda seen: next(asked), seed=0)
    assert rewards == [0.0] * 5 + [1 / 3, 0.0, 1 / 3] and info == {"is_success": False}


def test_an_associative_recall_by_hand() -> None:
    env = AssociativeRecall(pairs=3, keys=5, values=4)
    orders = set()
    for seed in range(50):
        rewards, seen, info = play(env, lambda seen: recalled_value(seen, 4), seed=seed)
        assert rewards == [0.0] * 3 + [1 / 3] * 3 and info == {"is_success": True}
        pairs = {int(key): int(value) for key, value in seen[:3]}
        assert len(pairs) == 3 and all(value < 4 for value in pairs.values())
        assert sorted(int(key) for key, _ in seen[3:6]) == sorted(pairs), "every key is asked for once"
        assert all(value == 4 for _, value in seen[3:])
        np.testing.assert_array_equal(seen[6], seen[5])
        orders.add(tuple(list(pairs).index(int(key)) for key, _ in seen[3:6]))
    assert len(orders) == 6, "in any order"
    named = iter([0, 0, 0, *((pairs[int(key)] + (step == 1)) % 4 for step, (key, _) in enumerate(seen[3:6]))])
    rewards, _, info = play(env, lambda seen: next(named), seed=49)
    assert rewards == [0.0] * 3 + [1 / 3, 0.0, 1 / 3] and info == {"is_success": False}


@pytest.mark.parametrize("name", TASKS)
def test_the_best_return_is_1_and_without_memory_it_is_chance(name: str) -> None:
    env, remember = TASKS[name][0](), TASKS[name][1]
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    players = {"remembers": remember, "constant": lambda seen: 3, "random": lambda seen: int(rng.integers(8))}
    returns = {player: [sum(play(env, act)[0]) for _ in range(500)] for player, act in players.items()}
    np.testing.assert_allclose(returns["remembers"], 1.0)
    for player in ("constant", "random"):
        questions = 500 * env.questions
        assert abs(np.mean(returns[player]) - 1 / 8) < 4 * np.sqrt(1 / 8 * 7 / 8 / questions)


@pytest.mark.parametrize("name", TASKS)
def test_same_seed_same_sequence(name: str) -> None:
    def sequence(seed: int) -> Any:
        return np.stack(play(TASKS[name][0](), lambda seen: 0, seed=seed)[1])

    np.testing.assert_array_equal(sequence(3), sequence(3))
    assert (sequence(3) != sequence(4)).any()


def test_what_is_no_task_is_reported() -> None:
    with pytest.raises(ConfigError, match="symbols: expected an integer of at least 2, got 1"):
        Copy(symbols=1)
    with pytest.raises(ConfigError, match="length: expected an integer of at least 1, got 0"):
        Copy(length=0)
    with pytest.raises(ConfigError, match="delay: expected an integer of at least 0, got -1"):
        Copy(delay=-1)
    with pytest.raises(ConfigError, match="pairs: expected an integer of at least 1, got 0"):
        AssociativeRecall(pairs=0)
    with pytest.raises(ConfigError, match="values: expected an integer of at least 2, got 1"):
        AssociativeRecall(values=1)
    with pytest.raises(ConfigError, match=r"keys: expected at least as many as pairs \(6\), got 5"):
        AssociativeRecall(keys=5)
    assert len(play(Copy(delay=0), lambda seen: copied_symbol(seen, 8), seed=0)[0]) == 16


@pytest.mark.parametrize("name", TASKS)
def test_misuse_is_reported(name: str) -> None:
    env = TASKS[name][0]()
    with pytest.raises(EnvironmentFault, match="reset"):
        env.step(0)
    play(env, lambda seen: 0)
    with pytest.raises(EnvironmentFault, match="reset"):
        env.step(0)
    env.reset()
    with pytest.raises(SpaceError, match=r"expected an answer in Discrete\(8\), got 8"):
        env.step(8)
    with pytest.raises(ValueError, match="got none"):
        TASKS[name][1]([])
