"""A Gymnasium action space -> what heads need to know about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from seqel.errors import SpaceError

__all__ = ["WRAPPER", "ActionSpec"]

# What to do about other action spaces; a test runs it as it is printed.
WRAPPER = """Let each Discrete action stand for one setting of the controls, for instance:

    import itertools
    import gymnasium as gym
    import numpy as np

    class Discretized(gym.ActionWrapper):
        def __init__(self, env, steps=3):
            super().__init__(env)
            self.settings = list(settings(env.action_space, steps))
            self.action_space = gym.spaces.Discrete(len(self.settings))

        def action(self, number):
            return self.settings[number]

    def settings(space, steps):
        if isinstance(space, gym.spaces.Box):  # with finite bounds; `steps` values of each number
            for point in itertools.product(*np.linspace(space.low.ravel(), space.high.ravel(), steps).T):
                yield np.array(point, space.dtype).reshape(space.shape)
        elif isinstance(space, gym.spaces.Discrete):
            yield from range(int(space.start), int(space.start + space.n))
        elif isinstance(space, gym.spaces.Tuple):
            yield from itertools.product(*(settings(part, steps) for part in space.spaces))
        else:  # Dict
            for values in itertools.product(*(settings(part, steps) for part in space.values())):
                yield dict(zip(space.keys(), values))

    def make():
        return Discretized(gym.make("Pendulum-v1"))

Train on it with seqel.train(make), or with `seqel train FILE:make` for FILE.py."""


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """A discrete action space: `sizes` has one entry per action dimension."""

    sizes: tuple[int, ...]
    start: tuple[int, ...]

    @classmethod
    def from_space(cls, space: spaces.Space[Any]) -> ActionSpec:
        """Read a Gymnasium action space.

        Raises:
            SpaceError: it is not Discrete; says what would work.
        """
        if isinstance(space, spaces.Discrete):
            if space.n < 1:
                raise SpaceError(f"the action space {space} has no actions")
            return cls((int(space.n),), (int(space.start),))
        advice = "Seqel predicts one value per action, so it needs gymnasium.spaces.Discrete"
        if isinstance(space, spaces.Box | spaces.Tuple | spaces.Dict):
            raise SpaceError(f"the action space {space} is not supported: {advice}. {WRAPPER}")
        elif isinstance(space, spaces.MultiDiscrete):
            advice += f"; wrap it so that one Discrete({int(np.prod(space.nvec))}) numbers the combinations"
        raise SpaceError(f"the action space {space} is not supported: {advice}.")

    @property
    def actions(self) -> int:
        """A: the number of actions of the widest dimension."""
        return max(self.sizes)

    @property
    def available(self) -> NDArray[np.bool_]:
        """(M, A): which of A entries are actions of each dimension."""
        found: NDArray[np.bool_] = np.arange(self.actions) < np.asarray(self.sizes)[:, None]
        return found

    @property
    def dims(self) -> int:
        """M: the number of action dimensions."""
        return len(self.sizes)
