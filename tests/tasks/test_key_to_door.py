"""Key to door: the three rooms by hand, and what players with and without the key get."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seqel.errors import ConfigError, EnvironmentFault, SpaceError
from seqel.tasks.key_to_door import (
    APPLE,
    CELLS,
    DOOR,
    EAST,
    KEY,
    NEXT_CELL,
    NORTH,
    PLAYER,
    SOUTH,
    WEST,
    KeyToDoor,
    optimal_action,
)
from support import play


def without_the_key(seen: list[Any]) -> int:
    room = seen[-1].reshape(-1)
    if (room != KEY).all():
        return optimal_action(seen)
    player = int(np.flatnonzero(room == PLAYER)[0])
    return next(move for move, cell in enumerate(NEXT_CELL[player]) if room[cell] != KEY)


def test_moves_and_walls() -> None:
    assert NEXT_CELL[0] == [0, 1, 5, 0]  # north, east, south and west of the corner at the north-west
    assert NEXT_CELL[12] == [7, 13, 17, 11]
    assert NEXT_CELL[24] == [19, 24, 24, 23]


@pytest.mark.parametrize("value", [1.0, 10.0])
def test_the_optimal_player_takes_the_key_all_apples_and_the_door(value: float) -> None:
    env = KeyToDoor(apple_rewards=(value, value))
    for seed in range(50):
        rewards, seen, info = play(env, optimal_action, seed=seed)
        assert info == {"is_success": True} and len(rewards) == 50
        assert rewards[:10] == [0.0] * 10, "the key pays nothing"
        assert sorted(rewards[10:40]) == [0.0] * 20 + [value] * 10
        assert sorted(rewards[40:]) == [0.0] * 9 + [10.0]
        contents = [sorted(set(room.reshape(-1).tolist()) - {0, PLAYER}) for room in seen]
        assert contents[0] == [KEY] and contents[10] == [APPLE] and contents[40] == [DOOR]
        assert all((room == PLAYER).sum() == 1 for room in seen)
        assert (seen[10] == APPLE).sum() == 10 and seen[10][2, 2] == PLAYER
        assert not any(KEY in found for found in contents[9:]) and not any(APPLE in found for found in contents[:10])


def test_without_the_key_the_door_pays_nothing() -> None:
    for seed in range(50):
        rewards, _, info = play(KeyToDoor(), without_the_key, seed=seed)
        assert info == {"is_success": False} and sum(rewards) in (10.0, 100.0)
        assert rewards[40:] == [0.0] * 10


def test_the_optimum_and_the_spread_of_the_apples() -> None:
    env = KeyToDoor()
    env.reset(seed=0)
    returns = [sum(play(env, optimal_action)[0]) for _ in range(400)]
    assert set(returns) == {20.0, 110.0}  # mean 65, standard deviation 45
    assert abs(np.mean(returns) - 65.0) < 4 * 45.0 / 20.0


def test_random_play_gets_what_the_docstring_says() -> None:
    env, rng = KeyToDoor(apple_rewards=(1.0, 1.0)), np.random.default_rng(0)
    env.reset(seed=0)
    returns = [sum(play(env, lambda seen: int(rng.integers(4)))[0]) for _ in range(500)]
    assert abs(np.mean(returns) - 5.05) < 4 * np.std(returns) / np.sqrt(500)


def test_an_episode_by_hand() -> None:
    env = KeyToDoor(apples=1, apple_rewards=(2.0, 2.0), door_reward=7.0, apple_steps=24)
    room, _ = env.reset(seed=0)
    (key,), (player,) = (np.flatnonzero(room.reshape(-1) == code) for code in (KEY, PLAYER))
    rows, columns = (key // 5 - player // 5, key % 5 - player % 5)
    way = [SOUTH if rows > 0 else NORTH] * abs(rows) + [EAST if columns > 0 else WEST] * abs(columns)
    for move in way:
        room = env.step(move)[0]
    assert (room == KEY).sum() == 0 and room.reshape(-1)[key] == PLAYER
    for _ in range(10 - len(way)):
        room, reward, _, _, _ = env.step(WEST)
        assert reward == 0.0
    assert room[2, 2] == PLAYER and (room == APPLE).sum() == 1, "the second room"
    seen, rewards = [room], []
    for _ in range(24):
        room, reward, _, _, _ = env.step(optimal_action(seen))
        seen.append(room)
        rewards.append(reward)
    assert sorted(rewards) == [0.0] * 23 + [2.0]
    assert (room == DOOR).sum() == 1, "the third room"
    paid = []
    for step in range(10):
        room, reward, terminated, _, info = env.step(optimal_action([room]))
        paid.append(reward)
        assert terminated == (step == 9)
    assert sorted(paid) == [0.0] * 9 + [7.0], "the door pays once"
    assert info == {"is_success": True}


def test_same_seed_same_episode() -> None:
    def episode(seed: int) -> Any:
        return np.stack(play(KeyToDoor(), optimal_action, seed=seed)[1])

    np.testing.assert_array_equal(episode(3), episode(3))
    assert (episode(3) != episode(4)).any()


def test_misuse_is_reported() -> None:
    for apples in (0, CELLS, 2.5):
        with pytest.raises(ConfigError, match="apples: expected an integer from 1 to 24"):
            KeyToDoor(apples=apples)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="apple_steps: expected an integer of at least 24, got 23"):
        KeyToDoor(apple_steps=23)
    for wrong in (
        {"apple_rewards": (1.0,)},
        {"apple_rewards": (1.0, np.inf)},
        {"apple_rewards": "ab"},
        {"door_reward": np.nan},
    ):
        with pytest.raises(ConfigError, match="expected two finite numbers and one"):
            KeyToDoor(**wrong)
    env = KeyToDoor()
    with pytest.raises(EnvironmentFault, match="reset"):
        env.step(0)
    env.reset()
    with pytest.raises(SpaceError, match=r"expected a move .*, got 4"):
        env.step(4)
    with pytest.raises(ValueError, match="got none"):
        optimal_action([])
