"""The T-Maze: a cue says which arm holds the reward, and the way to the arms is long.

passive              o  arm +1           active                  o  arm +1
S--o--o--  ...  --o--o  junction         C--S--o--  ...  --o--o  junction
                     o  arm -1                                   o  arm -1

S is the start, C the cell that shows the cue. In the passive maze the start shows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from seqel.errors import ConfigError, EnvironmentFault, SpaceError
from seqel.tasks.arguments import require_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["ActiveTMaze", "PassiveTMaze", "TMaze", "optimal_action"]

RIGHT, UP, LEFT, DOWN = range(4)
_MOVES = ((1, 0), (0, 1), (-1, 0), (0, -1))  # (dx, dy) of each action


class TMaze(gymnasium.Env["NDArray[np.float32]", np.int64]):
    """What the passive and the active T-Maze have in common (Ni et al. 2023, arXiv:2307.03864; after Bakker 2001).

    Positions are (x, y): the corridor (0..J, 0) and the arms (J, +1) and (J, -1), where J = `length` + `detour`. The start
    is (`detour`, 0) and the cue is at (0, 0). One arm, drawn uniformly, is the goal. The four moves are 0 right, 1 up,
    2 left, 3 down; a move into a wall changes nothing.

    Observation, float32 (2,): (0, goal's y) the first time that the player is at (0, 0); (0, 0) there later and everywhere
    else in the corridor; (1, y) at the junction and in the arms.

    The episode always lasts `length` + 2 `detour` + 1 steps and ends with `terminated`, because the horizon is part of the
    task. The reward of the last step is 1 in the goal's arm and 0 elsewhere. The reward of every other step t = 1, 2, ... is
    -1 / `length` if it ends at x < t - `detour`, and 0 otherwise: a player that falls behind one who reads the cue and then
    walks right pays for it. At the end `info["is_success"]` says whether the player is in the goal's arm.

    `reset(options={"cue": 1})` sets the goal, +1 or -1, instead of drawing it.

    Differs: the published code ends the episode with `done`; it predates Gymnasium's distinction of termination and
    truncation.

    Raises ConfigError (length < 1, an unknown render mode or option), SpaceError (invalid action), EnvironmentFault (a
    step before the first reset, or after the end).
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 (Gymnasium's own shape)
        "render_modes": ["ansi"],
        "render_fps": 4,
        "action_names": ["right", "up", "left", "down"],
    }
    detour: int  # steps from the start to the left, to the cue

    def __init__(self, length: int = 50, render_mode: str | None = None) -> None:
        self.length = require_count("length", length, 1)
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ConfigError(f"render_mode: expected None or 'ansi', got {render_mode!r}")
        self.render_mode = render_mode
        self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(4)
        self.metadata = {**self.metadata, "seqel": {"discount": 1.0, "context": self.length + 2 * self.detour + 1}}
        self._junction = self.length + self.detour
        self._x = self._y = self._cue = 0
        self._cue_seen = False
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
        self._x, self._y, self._time, self._cue_seen = self.detour, 0, 0, False
        return self._observe(), {}

    def step(self, action: np.int64 | int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        if self._time is None:
            raise EnvironmentFault("expected a reset before this step: no episode is open")
        if not self.action_space.contains(action):
            raise SpaceError(f"expected an action 0 (right), 1 (up), 2 (left) or 3 (down), got {action!r}")
        dx, dy = _MOVES[action]
        x, y = self._x + dx, self._y + dy
        if (y == 0 and 0 <= x <= self._junction) or (x == self._junction and abs(y) == 1):
            self._x, self._y = x, y
        self._time += 1
        if self._time <= self.length + 2 * self.detour:
            reward = -1.0 / self.length if self._x < self._time - self.detour else 0.0
            return self._observe(), reward, False, False, {}
        self._time = None
        success = self._y == self._cue
        return self._observe(), float(success), True, False, {"is_success": success}

    def _observe(self) -> NDArray[np.float32]:
        if self._x == self._junction:
            return np.array([1, self._y], np.float32)
        if self._x == 0 and not self._cue_seen:
            self._cue_seen = True
            return np.array([0, self._cue], np.float32)
        return np.zeros(2, np.float32)

    def render(self) -> str | None:
        """Return three lines: the arms, the corridor with the player as @, and the goal's arm as G."""
        if self.render_mode is None:
            return None
        rows = {y: [" "] * self._junction + ["G" if y == self._cue else "."] for y in (1, -1)}
        rows[0] = ["."] * (self._junction + 1)
        rows[self._y][self._x] = "@"
        return "\n".join("".join(rows[y]) for y in (1, 0, -1))


class PassiveTMaze(TMaze):
    """See a cue, walk, choose the right arm: a `TMaze`, which has the rules, without a detour.

    The first observation, `length` steps before the junction, shows which arm is the goal. The episode lasts `length` + 1
    steps. The best return is exactly 1. The best memoryless player averages 0.5, and a player that never moves gets -1.
    """

    detour = 0


class ActiveTMaze(TMaze):
    """Fetch a cue, walk, choose the right arm: a `TMaze`, which has the rules, with a detour of one step.

    The start shows nothing: an agent has to go left first, away from the goal, to see the cue. It decides `length` + 1 steps
    after that. The episode lasts `length` + 3 steps, exactly enough to go left and return. A player that walks right at once
    is never penalised, so the penalty does not lead to the cue. The best return is exactly 1. Without the cue, or without
    memory of it, the best average is 0.5. A player that never moves gets -1.
    """

    detour = 1


def optimal_action(observations: Sequence[NDArray[np.float32]]) -> int:
    """Return the optimal action in a T-Maze of any length and kind, given all observations of the episode so far.

    The policy gets what an agent gets, and remembers the cue: the one observation in the corridor that is not (0, 0).

    Raises ValueError if there is no observation.
    """
    if len(observations) == 0:
        raise ValueError("expected the observations of an episode, starting with its first, got none")
    cue = next((shown for at_junction, shown in observations if not at_junction and shown), None)
    if cue is None:
        return LEFT
    at_junction = observations[-1][0] == 1
    if not at_junction:
        return RIGHT
    return UP if cue > 0 else DOWN
