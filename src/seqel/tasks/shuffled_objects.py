"""Shuffled objects: one of eight is marked at the first step; name its colour ten steps later, whatever the order."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from seqel.errors import ConfigError, EnvironmentFault, SpaceError

__all__ = ["COLOURS", "ShuffledObjects", "colour_of_the_marked"]

COLOURS = 4
FEATURES = COLOURS + 3  # one-hot colour, two coordinates, the mark


class ShuffledObjects(gymnasium.Env[Any, np.int64]):
    """Objects whose order says nothing, and a memory of one of them.

    Observation: a set of `objects` entities of 7 features, float32 in [-1, 1]: their colour (one of four, one-hot), a place
    (2) that is redrawn at every step, and a mark. There are equally many objects of each colour. At the first step one
    object, drawn evenly, has the mark 1; no mark is ever seen again. The order is shuffled at every step.

    The episode lasts `delay` + 1 steps and its end is `terminated`. The last action names a colour, and is rewarded 1 where
    it is that of the marked object; every other action does nothing. Without memory the best return is 0.25 on average.
    At the end `info["is_success"]` says whether the colour was right.

    flat: the same numbers as one Box vector (objects * 7,), to see what knowing that they are a set is worth.

    Raises ConfigError (objects is no positive multiple of four, delay < 1), SpaceError (not an action), EnvironmentFault
    (a step without an open episode).
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own shape)

    def __init__(self, objects: int = 8, delay: int = 10, flat: bool = False) -> None:
        if objects < COLOURS or objects % COLOURS:
            raise ConfigError(f"objects: expected a positive multiple of {COLOURS}, got {objects}")
        if delay < 1:
            raise ConfigError(f"delay: expected at least 1, got {delay}")
        self.objects, self.delay, self.flat = objects, delay, flat
        rows = gymnasium.spaces.Box(-1.0, 1.0, (objects, FEATURES), np.float32)
        there = gymnasium.spaces.MultiBinary(objects)
        self.observation_space: gymnasium.Space[Any] = gymnasium.spaces.Dict({"entities": rows, "present": there})
        if flat:
            self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (objects * FEATURES,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(COLOURS)
        self.metadata = {**self.metadata, "seqel": {"discount": 1.0, "context": delay + 1}}  # suggested settings
        self._colour = np.repeat(np.arange(COLOURS), objects // COLOURS)
        self._wanted = 0
        self._time: int | None = None  # None while no episode is open

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._time = 0
        marked = int(self.np_random.integers(self.objects))
        self._wanted = int(self._colour[marked])
        return self._see(marked), {}

    def step(self, action: np.int64 | int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self._time is None:
            raise EnvironmentFault("expected a reset before this step: no episode is open")
        if not self.action_space.contains(action):
            raise SpaceError(f"expected a colour, 0 to {COLOURS - 1}, got {action!r}")
        self._time += 1
        if self._time <= self.delay:
            return self._see(None), 0.0, False, False, {}
        self._time = None
        success = bool(action == self._wanted)
        return self._see(None), float(success), True, False, {"is_success": success}

    def _see(self, marked: int | None) -> Any:
        rows = np.zeros((self.objects, FEATURES), np.float32)
        rows[np.arange(self.objects), self._colour] = 1.0
        rows[:, COLOURS : COLOURS + 2] = self.np_random.uniform(-1.0, 1.0, (self.objects, 2))
        if marked is not None:
            rows[marked, -1] = 1.0
        rows = self.np_random.permutation(rows)
        return rows.reshape(-1) if self.flat else {"entities": rows, "present": np.ones(self.objects, np.int8)}


def colour_of_the_marked(first: NDArray[np.float32]) -> int:
    """What the best player names at the end, from the entities (objects, 7) of the first step."""
    return int(first[first[:, -1].argmax(), :COLOURS].argmax())
