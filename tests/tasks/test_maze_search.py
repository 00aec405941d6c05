"""Maze search: mazes, rules and views, and what players with a map, without one and at random get."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest

from seqel.errors import ConfigError, EnvironmentFault, SpaceError
from seqel.tasks.map_player import MapPlayer, first_move
from seqel.tasks.maze_search import FLOOR, LOOPS, MOVES, WALL, MazeSearch, draw_maze, draw_rooms
from seqel.tasks.registry import register

STEPS = 250


def play(act: Callable[[Any], int], env: MazeSearch, steps: int = STEPS) -> tuple[float, bool]:
    """Return the return and the success of an episode of this many steps."""
    observation, total, success = env.reset()[0], 0.0, False
    for _ in range(steps):
        observation, reward, terminated, truncated, info = env.step(act(observation))
        assert not terminated and not truncated and reward in (0.0, 1.0)
        total, success = total + reward, info["is_success"]
    return total, success


def test_the_limit_is_250_steps() -> None:
    register()
    env = gymnasium.make("seqel/MazeSearch-v0")
    env.reset(seed=0)
    for step in range(STEPS):
        _, _, terminated, truncated, _ = env.step(0)
        assert (terminated, truncated) == (False, step == STEPS - 1)


@pytest.mark.parametrize("size", [5, 9, 15])
def test_a_maze_connects_all_its_rooms_and_has_a_few_loops(size: int) -> None:
    rng, extra = np.random.default_rng(0), []
    rooms = ((size + 1) // 2) ** 2
    doorways = (size + 1) * (size - 1) // 2
    for _ in range(50):
        maze = draw_maze(size, rng)
        assert (maze[::2, ::2] == FLOOR).all() and (maze[1::2, 1::2] == WALL).all()
        reached, border = {(0, 0)}, [(0, 0)]
        while border:
            row, column = border.pop()
            for rows, columns in MOVES:
                cell = (row + rows, column + columns)
                if cell not in reached and min(cell) >= 0 and max(cell) < size and maze[cell] == FLOOR:
                    reached.add(cell)
                    border.append(cell)
        assert len(reached) == (maze == FLOOR).sum(), "every open cell can be reached"
        extra.append(int((maze == FLOOR).sum()) - rooms - (rooms - 1))
    closed = doorways - (rooms - 1)
    error = np.sqrt(LOOPS * (1 - LOOPS) / (closed * 50))
    assert abs(np.mean(extra) / closed - LOOPS) < 4 * error


@pytest.mark.parametrize(("per_side", "objects"), [(3, 3), (5, 3), (7, 7)])
def test_objects_are_in_rooms_that_are_not_neighbours(per_side: int, objects: int) -> None:
    rng, first, start = np.random.default_rng(0), [], []
    for _ in range(2000):
        *rooms, player = draw_rooms(per_side, objects, rng)
        assert len(rooms) == objects and player not in rooms
        assert all(max(abs(r - y), abs(c - x)) > 1 for at, (r, c) in enumerate(rooms) for y, x in rooms[:at])
        first.append(rooms[0])
        start.append(player)
    for drawn in (first, start):
        assert {0, per_side - 1} <= {row for row, _ in drawn} and {0, per_side - 1} <= {column for _, column in drawn}
    assert len(set(start)) == per_side**2, "the player may start in any room"


def test_the_view_is_the_maze_around_the_player() -> None:
    env = MazeSearch(size=7, objects=4, render_mode="ansi")
    for seed in range(20):
        observation, _ = env.reset(seed=seed)
        for step in range(30):
            picture = env.render()
            assert picture is not None
            rows = [list(row) for row in picture.split("\n")]
            ((row, column),) = [(y, x) for y in range(7) for x in range(7) if rows[y][x] == "@"]
            view = observation["view"]
            for dy, dx in np.ndindex(5, 5):
                y, x = row + dy - 2, column + dx - 2
                sign = rows[y][x] if 0 <= y < 7 and 0 <= x < 7 else "#"
                code = {"#": 0, ".": 1}.get(sign, ord(sign.upper()) - ord("A") + 2)
                assert (dy, dx) == (2, 2) or view[dy, dx] == code
                assert sign not in "abcd" or code == observation["target"] + 2
            observation, *_ = env.step((seed + step * step) % 4)


def test_only_the_target_pays_and_then_another_object_is_asked_for() -> None:
    env = MazeSearch(size=5, objects=3)
    rng, paid, touched = np.random.default_rng(0), 0, 0
    for seed in range(20):
        observation, _ = env.reset(seed=seed)
        reached = set()
        for _ in range(200):
            action = int(rng.integers(4))
            rows, columns = MOVES[action]
            ahead = int(observation["view"][2 + rows, 2 + columns])
            before = observation
            observation, reward, _, _, info = env.step(action)
            if ahead == WALL:
                np.testing.assert_array_equal(observation["view"], before["view"])
            else:
                assert observation["view"][2, 2] == ahead
            assert reward == float(ahead == before["target"] + 2)
            assert (observation["target"] == before["target"]) == (reward == 0.0)
            paid, touched = paid + int(reward), touched + (ahead > FLOOR)
            if reward:
                reached.add(int(before["target"]))
            assert info["is_success"] == (len(reached) == 3)
    assert 10 < paid < touched


def test_first_move_takes_a_shortest_way() -> None:
    rows = ["S.#G", "#.#.", "....", "####"]
    known = {(y, x): int(sign != "#") for y, row in enumerate(rows) for x, sign in enumerate(row)}
    assert first_move(known, (0, 0), lambda cell: cell == (0, 3)) == 1
    assert first_move(known, (2, 1), lambda cell: cell == (0, 3)) == 1
    assert first_move(known, (2, 1), lambda cell: cell in ((0, 0), (2, 0))) == 3, "the nearer of two goals"
    assert first_move(known, (0, 0), lambda cell: cell == (3, 3)) is None
    assert first_move({(0, 0): 1}, (0, 0), lambda cell: True) is None, "the start is no goal"


def test_the_map_player_searches_once_and_gets_what_the_docstring_says() -> None:
    env = MazeSearch()
    env.reset(seed=0)
    played = [play(MapPlayer().act, env) for _ in range(60)]
    returns = [total for total, _ in played]
    assert abs(np.mean(returns) - 23.58) < 4 * np.std(returns) / np.sqrt(60)
    assert np.mean([success for _, success in played]) > 0.99


def test_the_map_player_also_plays_other_sizes() -> None:
    for size, objects in ((5, 2), (13, 5)):
        env = MazeSearch(size, objects)
        env.reset(seed=1)
        assert min(play(MapPlayer().act, env)[0] for _ in range(5)) >= 2


def test_players_without_memory_get_what_the_docstring_says() -> None:
    env, rng = MazeSearch(), np.random.default_rng(0)
    env.reset(seed=0)

    def forgetful(observation: Any) -> int:
        view = {(at // 5 - 2, at % 5 - 2): code for at, code in enumerate(observation["view"].reshape(-1).tolist())}
        move = first_move(view, (0, 0), lambda cell: view[cell] == observation["target"] + 2)
        return int(rng.choice([at for at, step in enumerate(MOVES) if view[step]])) if move is None else move

    for act, expected in ((forgetful, 2.13), (lambda observation: int(rng.integers(4)), 0.50)):
        returns = [play(act, env)[0] for _ in range(60)]
        assert abs(np.mean(returns) - expected) < 4 * np.std(returns) / np.sqrt(60)


def test_same_seed_same_maze() -> None:
    def episode(seed: int) -> list[Any]:
        env = MazeSearch()
        seen = [env.reset(seed=seed)[0], *(env.step(step % 4)[0] for step in range(40)), env.reset()[0]]
        return [(int(one["target"]), one["view"].tolist()) for one in seen]

    assert episode(3) == episode(3)
    assert episode(3) != episode(4)


def test_misuse_is_reported() -> None:
    with pytest.raises(ConfigError, match="size: expected an integer of at least 5, got 3"):
        MazeSearch(size=3)
    with pytest.raises(ConfigError, match="size: expected an odd number, got 8"):
        MazeSearch(size=8)
    for objects in (1, 6):
        with pytest.raises(ConfigError, match="objects: expected an integer from 2 to 5"):
            MazeSearch(objects=objects)
    with pytest.raises(ConfigError, match="render_mode: expected None or 'ansi', got 'human'"):
        MazeSearch(render_mode="human")
    env = MazeSearch()
    assert env.render() is None
    with pytest.raises(EnvironmentFault, match="reset"):
        env.step(0)
    env.reset()
    with pytest.raises(SpaceError, match=r"expected a move .*, got 4"):
        env.step(4)
