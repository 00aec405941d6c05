"""Maze search: go to the object that is asked for, again and again, in a maze that is new in every episode."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from seqel.errors import ConfigError, EnvironmentFault
from seqel.tasks.arguments import require_action, require_count

__all__ = ["FLOOR", "MOVES", "RADIUS", "WALL", "MazeSearch", "draw_maze", "draw_rooms"]

WALL, FLOOR = 0, 1  # codes of a cell; object i has the code i + 2
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # (rows, columns) of the actions north, east, south, west
RADIUS = 2  # cells seen to each side of the player
LOOPS = 0.2  # chance of an opening that the maze could do without


class MazeSearch(gymnasium.Env["dict[str, Any]", np.int64]):
    """A scavenger hunt in a random maze, after Memory Maze (Pasukonis et al. 2022, arXiv:2210.13383) but small and flat.

    The maze has `size` x `size` cells. Cells whose row and column are even are rooms and always open, cells whose row and
    column are odd are always wall, and the others are doorways. The open doorways are a spanning tree of the rooms (Kruskal's
    algorithm with a random order) and each other one with probability 0.2, so there are few loops and every room can be
    reached. Each of `objects` objects is in a room of its own; these are drawn one after another, uniformly from those that
    are not next to an object's room, not even diagonally. So no object is in view from another. The player starts in any of
    the other rooms. Maze and objects do not change within an episode.

    Observation: a dict. "view", uint8 (5, 5): the cells around the player, who is in the middle; 0 wall, 1 floor, i + 2
    object i. Beyond the maze there is wall. Walls do not hide what is behind them, and north is always up. "target", Discrete
    (`objects`,): the object to go to. The actions are 0 north, 1 east, 2 south, 3 west; a step into a wall changes nothing.

    Entering the target's cell is rewarded with 1, and then the next target is drawn uniformly from the other objects. Other
    objects have no effect. There is no end: registered with a limit of 250 steps. `info["is_success"]` says whether every
    object has been reached as the target by now.

    An agent that remembers searches the maze once and then takes the shortest ways. Mean returns of 250 steps, with 95 %
    intervals from 4,000 episodes:

    - 24.95 (24.74 to 25.15): a player that knows the maze from the start, an upper bound;
    - 23.58 (23.37 to 23.78): `seqel.tasks.map_player.MapPlayer`, which draws a map of what it saw;
    - 2.13 (2.07 to 2.19): a player without memory that goes to the target while it is in view, and moves at random otherwise;
    - 0.50 (0.48 to 0.52): random play.

    Differs: cells, codes and moves instead of pictures of three dimensions and a rolling ball; walls do not hide anything;
    the player does not turn; mazes of corridors without larger rooms; 250 steps instead of 1,000.

    Raises ConfigError (size even or below 5, objects outside 2..(size + 1) / 2), SpaceError (invalid action),
    EnvironmentFault (a step before the first reset).
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012 (Gymnasium's own shape)

    def __init__(self, size: int = 9, objects: int = 3, render_mode: str | None = None) -> None:
        self.size = require_count("size", size, 5)
        if self.size % 2 == 0:
            raise ConfigError(f"size: expected an odd number, got {size}")
        self.objects = require_count("objects", objects, 2, (self.size + 1) // 2)
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ConfigError(f"render_mode: expected None or 'ansi', got {render_mode!r}")
        self.render_mode = render_mode
        side = 2 * RADIUS + 1
        view = gymnasium.spaces.Box(0, self.objects + 1, (side, side), np.uint8)
        target = gymnasium.spaces.Discrete(self.objects)
        self.observation_space = gymnasium.spaces.Dict({"target": target, "view": view})
        self.action_space = gymnasium.spaces.Discrete(4)
        self.metadata = {**self.metadata, "seqel": {"context": 128}}  # suggested settings: 256 steps with two layers
        self._maze = np.full((self.size + 2 * RADIUS,) * 2, WALL, np.uint8)
        self._row = self._column = 0  # of the player; in `_maze`, RADIUS more
        self._target = -1  # -1 before the first reset
        self._reached: set[int] = set()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        inner = self._maze[RADIUS:-RADIUS, RADIUS:-RADIUS]
        inner[:] = draw_maze(self.size, self.np_random)
        *rooms, start = draw_rooms((self.size + 1) // 2, self.objects, self.np_random)
        for number, (row, column) in enumerate(rooms):
            inner[2 * row, 2 * column] = number + 2
        self._row, self._column = 2 * start[0], 2 * start[1]
        self._target = int(self.np_random.integers(self.objects))
        self._reached = set()
        return self._observe(), {}

    def step(self, action: np.int64 | int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        if self._target < 0:
            raise EnvironmentFault("expected a reset before this step: no episode is open")
        rows, columns = MOVES[require_action(self.action_space, action, "a move (0 north, 1 east, 2 south, 3 west)")]
        row, column = self._row + rows, self._column + columns
        found = int(self._maze[row + RADIUS, column + RADIUS])
        reward = 0.0
        if found != WALL:
            self._row, self._column = row, column
            if found == self._target + 2:
                reward = 1.0
                self._reached.add(self._target)
                other = int(self.np_random.integers(self.objects - 1))
                self._target = other + (other >= self._target)
        return self._observe(), reward, False, False, {"is_success": len(self._reached) == self.objects}

    def _observe(self) -> dict[str, Any]:
        side = 2 * RADIUS + 1
        view = self._maze[self._row : self._row + side, self._column : self._column + side]
        return {"target": np.int64(self._target), "view": view.copy()}

    def render(self) -> str | None:
        """Return one line per row: # wall, . floor, @ the player, objects as capitals, and the target in lower case."""
        if self.render_mode is None:
            return None
        signs = np.array(["#", ".", *(chr(ord("A") + number) for number in range(self.objects))])
        signs[self._target + 2] = signs[self._target + 2].lower()
        picture = signs[self._maze[RADIUS:-RADIUS, RADIUS:-RADIUS]]
        picture[self._row, self._column] = "@"
        return "\n".join("".join(line) for line in picture)


def draw_rooms(per_side: int, objects: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Draw the rooms of the objects, and last that of the player: (row, column), each 0..per_side - 1."""
    while True:
        drawn: list[tuple[int, int]] = []
        others: list[tuple[int, int]] = []
        for room in rng.permutation(per_side**2).tolist():
            row, column = divmod(room, per_side)
            free = len(drawn) < objects and all(max(abs(row - r), abs(column - c)) > 1 for r, c in drawn)
            (drawn if free else others).append((row, column))
        if len(drawn) == objects:
            return [*drawn, others[int(rng.integers(len(others)))]]


def draw_maze(size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a maze of WALL and FLOOR, as `MazeSearch` describes it.  -> (size, size)."""
    per_side = (size + 1) // 2
    maze = np.full((size, size), WALL, np.uint8)
    maze[::2, ::2] = FLOOR
    count = per_side * (per_side - 1)  # doorways of each direction
    order = rng.permutation(2 * count).tolist()
    opened = (rng.random(2 * count) < LOOPS).tolist()
    root = list(range(per_side**2))

    def find(room: int) -> int:
        while root[room] != room:
            root[room] = room = root[root[room]]
        return room

    for doorway in order:
        across, number = divmod(doorway, count)
        if across:
            row, column = divmod(number, per_side - 1)
            one, other, at = row * per_side + column, row * per_side + column + 1, (2 * row, 2 * column + 1)
        else:
            row, column = divmod(number, per_side)
            one, other, at = number, number + per_side, (2 * row + 1, 2 * column)
        first, second = find(one), find(other)
        if first != second or opened[doorway]:
            root[first] = second
            maze[at] = FLOOR
    return maze
