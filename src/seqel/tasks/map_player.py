"""A scripted player of `MazeSearch` that remembers everything: it draws a map and takes the shortest way on it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from seqel.tasks.maze_search import MOVES, RADIUS, WALL

__all__ = ["Cell", "MapPlayer", "first_move"]

Cell = tuple[int, int]  # row and column

_VIEW = [(row, column) for row in range(-RADIUS, RADIUS + 1) for column in range(-RADIUS, RADIUS + 1)]


class MapPlayer:
    """Plays one episode of `MazeSearch`, from what an agent gets: the observations.

    It knows where it is relative to its start, because it sees the cells next to it and never walks into a wall. If the
    target is on its map, it takes the shortest known way there, found by breadth-first search; otherwise it goes to the
    nearest known cell next to an unknown one. Near-optimal: see `MazeSearch` for its return and an upper bound.
    """

    def __init__(self) -> None:
        self.at: Cell = (0, 0)  # relative to the start
        self.known: dict[Cell, int] = {}  # code of each cell that was seen

    def act(self, observation: Mapping[str, Any]) -> int:
        """Return the action for the next observation of the episode; call it once for each of them, in order."""
        row, column = self.at
        for (rows, columns), code in zip(_VIEW, observation["view"].reshape(-1).tolist(), strict=True):
            self.known[row + rows, column + columns] = code
        wanted = int(observation["target"]) + 2
        move = first_move(self.known, self.at, lambda cell: self.known[cell] == wanted)
        if move is None:
            move = first_move(self.known, self.at, self._is_frontier)
        assert move is not None, "every room can be reached, so the target is on the map or beyond its frontier"
        self.at = (row + MOVES[move][0], column + MOVES[move][1])
        return move

    def _is_frontier(self, cell: Cell) -> bool:
        return any((cell[0] + rows, cell[1] + columns) not in self.known for rows, columns in MOVES)


def first_move(known: Mapping[Cell, int], start: Cell, is_goal: Callable[[Cell], bool]) -> int | None:
    """Return the first action of a shortest known way from `start` to a goal other than `start`, or None if there is none."""
    queue: deque[tuple[Cell, int | None]] = deque([(start, None)])
    seen = {start}
    while queue:
        (row, column), first = queue.popleft()
        for action, (rows, columns) in enumerate(MOVES):
            cell = (row + rows, column + columns)
            if cell in seen or known.get(cell, WALL) == WALL:
                continue
            seen.add(cell)
            move = action if first is None else first
            if is_goal(cell):
                return move
            queue.append((cell, move))
    return None
