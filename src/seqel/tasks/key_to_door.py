"""Key to door: a key pays nothing at once, apples pay at random for a while, and then a door pays only with the key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from seqel.errors import ConfigError, EnvironmentFault
from seqel.tasks.arguments import require_action, require_count

__all__ = ["KeyToDoor", "optimal_action"]

SIDE = 5  # of each room, in cells
CELLS = SIDE * SIDE
MIDDLE = CELLS // 2
FLOOR, PLAYER, KEY, APPLE, DOOR = range(5)  # codes of a cell
NORTH, EAST, SOUTH, WEST = range(4)
KEY_STEPS, DOOR_STEPS = 10, 10
SPIRAL_STEPS = CELLS - 1  # to visit every cell of a room from its middle

_CELLS = np.arange(CELLS).reshape(SIDE, SIDE)
_PADDED = np.pad(_CELLS, 1, mode="edge")  # a step into a wall stays where it is
_NEXT = np.stack([_PADDED[:-2, 1:-1], _PADDED[1:-1, 2:], _PADDED[2:, 1:-1], _PADDED[1:-1, :-2]], axis=-1)
NEXT_CELL: list[list[int]] = _NEXT.reshape(CELLS, 4).tolist()  # [cell][action]


class KeyToDoor(gymnasium.Env["NDArray[np.uint8]", np.int64]):
    """Fetch a key, eat apples, open a door: credit for an act whose reward comes after many unrelated ones.

    Three rooms of 5 x 5 cells follow each other. Observation, uint8 (5, 5): the whole room, with 0 floor, 1 the player, 2 the
    key, 3 an apple, 4 the door; the player hides what it stands on. The actions are 0 north, 1 east, 2 south, 3 west; a step
    into a wall changes nothing. What is in a room, and the player in the first and third, are at different cells, drawn
    uniformly. No observation shows whether the player has the key.

    1. For 10 steps there is a key. Walking onto it takes it. There is no reward.
    2. For `apple_steps` steps there are `apples` apples, and the player starts in the middle. Walking onto an apple eats it.
       All apples of an episode pay the same: one of the two `apple_rewards`, drawn evenly at every reset.
    3. For 10 steps there is a door. Walking onto it for the first time opens it if the player has the key, with reward
       `door_reward`. Without the key nothing happens.

    The episode lasts `apple_steps` + 20 steps and ends with `terminated`. At the end `info["is_success"]` says whether the
    door was opened.

    The optimum is `apples` times the mean apple reward plus `door_reward`: by default 10 x 5.5 + 10 = 65. The sum of the
    apples is 10 or 100, so its variance is 2025 and its standard deviation 45, which hides the 10 of the door: compare agents
    by `is_success`, or take `apple_rewards=(1, 1)` for a variance of 0 and an optimum of 20. A player that never takes the
    key gets 55 at best (10 without variance). Random play averages 25.8 (5.05 without variance, 95 % interval 5.01 to 5.08
    from 20,000 episodes) and opens the door in 4.3 % of episodes.

    Acting needs no memory: `optimal_action` looks at the current observation alone, and a memoryless player can get the
    optimum. The value of an observation does need memory, of whether the key was taken.

    Source: Hung et al. 2019, arXiv:1810.06721, and its published code: 10 apples that all pay 1 or all pay 10, a door that
    pays 10. Mesnard et al. 2020, arXiv:2011.09464, compare high and low variance. Differs: rooms of 5 x 5 cells that are
    seen as a whole and as codes, instead of pixels around the player; apples do not grow again; the rooms last 10, 30 and 10
    steps instead of 15, 90 and 15.

    Raises ConfigError (apples outside 1..24, apple_steps < 24, rewards that are no numbers), SpaceError (invalid action),
    EnvironmentFault (a step before the first reset, or after the end).
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own shape)

    def __init__(
        self,
        apples: int = 10,
        apple_rewards: tuple[float, float] = (1.0, 10.0),
        door_reward: float = 10.0,
        apple_steps: int = 30,
    ) -> None:
        self.apples = require_count("apples", apples, 1, CELLS - 1)
        self.apple_steps = require_count("apple_steps", apple_steps, SPIRAL_STEPS)
        if np.shape(apple_rewards) != (2,) or not all(map(_is_number, [*apple_rewards, door_reward])):
            raise ConfigError(
                "apple_rewards and door_reward: expected two finite numbers and one, "
                f"got {apple_rewards!r} and {door_reward!r}"
            )
        self.apple_rewards = (float(apple_rewards[0]), float(apple_rewards[1]))
        self.door_reward = float(door_reward)
        self.observation_space = gymnasium.spaces.Box(0, DOOR, (SIDE, SIDE), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(4)
        self.steps = KEY_STEPS + self.apple_steps + DOOR_STEPS
        self.metadata = {**self.metadata, "seqel": {"discount": 1.0, "context": self.steps}}  # suggested settings
        self._room = np.zeros(CELLS, np.uint8)  # without the player
        self._player = 0
        self._apple_reward = 0.0
        self._has_key = self._opened = False
        self._time: int | None = None  # None while no episode is open

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        super().reset(seed=seed)
        self._apple_reward = self.apple_rewards[int(self.np_random.integers(2))]
        self._has_key = self._opened = False
        self._time = 0
        self._furnish(KEY)
        return self._observe(), {}

    def step(self, action: np.int64 | int) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        if self._time is None:
            raise EnvironmentFault("expected a reset before this step: no episode is open")
        move = require_action(self.action_space, action, "a move (0 north, 1 east, 2 south, 3 west)")
        self._player = NEXT_CELL[self._player][move]
        reward = self._touch(int(self._room[self._player]))
        self._time += 1
        if self._time == self.steps:
            self._time = None
            return self._observe(), reward, True, False, {"is_success": self._opened}
        if self._time == KEY_STEPS:
            self._furnish(APPLE)
        elif self._time == KEY_STEPS + self.apple_steps:
            self._furnish(DOOR)
        return self._observe(), reward, False, False, {}

    def _touch(self, found: int) -> float:
        """Let the player act on what is in its cell; return the reward."""
        if found == FLOOR or (found == DOOR and (self._opened or not self._has_key)):
            return 0.0
        if found == DOOR:
            self._opened = True
            return self.door_reward
        self._room[self._player] = FLOOR
        if found == KEY:
            self._has_key = True
            return 0.0
        return self._apple_reward

    def _furnish(self, content: int) -> None:
        """Enter the next room, which has this content."""
        self._room[:] = FLOOR
        if content == APPLE:
            cells = self.np_random.choice(CELLS - 1, self.apples, replace=False)
            self._room[cells + (cells >= MIDDLE)] = APPLE
            self._player = MIDDLE
            return
        place, player = self.np_random.choice(CELLS, 2, replace=False)
        self._room[place] = content
        self._player = int(player)

    def _observe(self) -> NDArray[np.uint8]:
        seen = self._room.copy()
        seen[self._player] = PLAYER
        return seen.reshape(SIDE, SIDE)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and bool(np.isfinite(value))


def _spiral() -> list[int]:
    """Return the action at each cell that leads from the middle once through every cell, in a spiral."""
    actions, cell = [NORTH] * CELLS, MIDDLE
    legs = [(NORTH, 1), (EAST, 1), (SOUTH, 2), (WEST, 2), (NORTH, 3), (EAST, 3), (SOUTH, 4), (WEST, 4), (NORTH, 4)]
    for action, length in legs:
        for _ in range(length):
            actions[cell] = action
            cell = NEXT_CELL[cell][action]
    return actions


_SPIRAL = _spiral()


def optimal_action(observations: Sequence[NDArray[np.uint8]]) -> int:
    """Return an optimal action, given all observations of the episode so far; only the last one is used.

    It walks to the key or the door, and through the room with the apples in a spiral, which takes 24 steps.

    Raises ValueError if there is no observation.
    """
    if len(observations) == 0:
        raise ValueError("expected the observations of an episode, starting with its first, got none")
    room = observations[-1].reshape(-1)
    player = int(np.flatnonzero(room == PLAYER)[0])
    goals = np.flatnonzero((room == KEY) | (room == DOOR))
    if len(goals) == 0:
        return _SPIRAL[player]
    (row, column), (goal_row, goal_column) = divmod(player, SIDE), divmod(int(goals[0]), SIDE)
    if row != goal_row:
        return SOUTH if row < goal_row else NORTH
    return EAST if column < goal_column else WEST
