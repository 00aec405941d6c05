"""Tasks that cannot be solved without memory.

goal +1                                              o
start  o--o--o--  ...  --o--o   a corridor of length L, then the junction
goal -1                                              o
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from seqel.errors import ConfigError, EnvironmentFault, SpaceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["PassiveTMaze", "optimal_action"]

RIGHT, UP, LEFT, DOWN = range(4)
_MOVES = ((1, 0), (0, 1), (-1, 0), (0, -1))  # (dx, dy) of each action


class PassiveTMaze(gymnasium.Env["NDArray[np.float32]", np.int64]):
    """The passive T-Maze (Ni et al. 2023, arXiv:2307.03864; after Bakker 2001): see a cue, walk, choose the right arm.

    Positions are (x, y): the corridor (0..L, 0) and the arms (L, +1) and (L, -1). The start is (0, 0). One arm, drawn
    uniformly, is the goal. The four moves are 0 right, 1 up, 2 left, 3 down; a move into a wall changes nothing.

    Observation, float32 (2,): (0, goal's y) at the first step; (0, 0) in the corridor, and at the start after the first
    step; (1, y) at the junction and in the arms. So only the first observation, L steps before the junction, shows which
    arm is the goal.

    The episode always lasts L + 1 steps and ends with `terminated`, because the horizon is part of the task. The reward of
    the last step is 1 in the goal's arm and 0 elsewhere. The reward of every other step t = 1..L is -1/L if it ends at
    x < t, that is, behind a player that has only walked right, and 0 otherwise. The best return is exactly 1. The best
    memoryless player averages 0.5, and a player that never moves gets -1. At the end `info["is_success"]` says whether
    the goal was reached.

    `reset(options={"cue": 1})` sets the goal, +1 or -1, instead of drawing it.

    Differs: the published code ends the episode with `done`; it predates Gymnasium's distinction of termination and
    truncation.

    Raises ConfigError (length < 1, an unknown render mode or option), SpaceError (invalid action), EnvironmentFault (a
    step before the first reset, or after the end).
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 4}  # noqa: RUF012 (Gymnasium's own shape)

    def __init__(self, length: int = 50, render_mode: str | None = None) -> None:
        if isinstance(length, bool) or not hasattr(length, "__index__") or length < 1:
            raise ConfigError(f"length: expected an integer of at least 1, got {length!r}")
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ConfigError(f"render_mode: expected None or 'ansi', got {render_mode!r}")
        self.length = int(length)
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(4)
        self.metadata = {**self.metadata, "seqel": {"discount": 1.0, "context": self.length + 1}}  # suggested settings
        self._x = self._y = self._cue = 0
        self._time: int | None = None  # None while no episode is open

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        options = options or {}
        cue = options.get("cue")
        if set(options) - {"cue"} or cue not in (None, -1, 1):
            raise ConfigError(f"options: expected None, or a 'cue' of 1 or -1, got {options!r}")
        self._cue = int(cue) if cue is not None else 2 * int(self.np_random.integers(2)) - 1
        self._x = self._y = self._time = 0
        return np.array([0, self._cue], np.float32), {}

    def step(self, action: np.int64 | int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        if self._time is None:
            raise EnvironmentFault("expected a reset before this step: no episode is open")
        if not self.action_space.contains(action):
            raise SpaceError(f"expected an action 0 (right), 1 (up), 2 (left) or 3 (down), got {action!r}")
        dx, dy = _MOVES[action]
        x, y = self._x + dx, self._y + dy
        if (y == 0 and 0 <= x <= self.length) or (x == self.length and abs(y) == 1):
            self._x, self._y = x, y
        self._time += 1
        observation = np.array([1, self._y] if self._x == self.length else [0, 0], np.float32)
        if self._time <= self.length:
            return observation, -1.0 / self.length if self._x < self._time else 0.0, False, False, {}
        self._time = None
        success = self._y == self._cue
        return observation, float(success), True, False, {"is_success": success}

    def render(self) -> str | None:
        """Return three lines: the arms, the corridor with the player as @, and the goal's arm as G."""
        if self.render_mode is None:
            return None
        rows = {y: [" "] * self.length + ["G" if y == self._cue else "."] for y in (1, -1)}
        rows[0] = ["."] * (self.length + 1)
        rows[self._y][self._x] = "@"
        return "\n".join("".join(rows[y]) for y in (1, 0, -1))


def optimal_action(observations: Sequence[NDArray[np.float32]]) -> int:
    """Return the optimal action in a passive T-Maze of any length, given all observations of the episode so far.

    The policy gets what an agent gets, and remembers the cue, which is in the first observation.

    Raises ValueError if there is no observation.
    """
    if len(observations) == 0:
        raise ValueError("expected the observations of an episode, starting with its first, got none")
    at_junction = observations[-1][0] == 1
    if not at_junction:
        return RIGHT
    return UP if observations[0][1] > 0 else DOWN
