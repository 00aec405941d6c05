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
    """A discrete action space: `sizes` and `start` have one entry per action dimension (one for Discrete)."""

    sizes: tuple[int, ...]
    start: tuple[int, ...]

    @classmethod
    def from_space(cls, space: spaces.Space[Any]) -> ActionSpec:
        """Read a Gymnasium action space.

        Raises:
            SpaceError: it is neither Discrete nor a flat MultiDiscrete; says what would work.
        """
        if isinstance(space, spaces.Discrete):
            if space.n < 1:
                raise SpaceError(f"the action space {space} has no actions")
            return cls((int(space.n),), (int(space.start),))
        if isinstance(space, spaces.MultiDiscrete):
            return cls._of_multi_discrete(space)
        advice = (
            "Seqel predicts one value per action, so it needs gymnasium.spaces.Discrete, or MultiDiscrete for several "
            "actions at once"
        )
        if isinstance(space, spaces.Box | spaces.Tuple | spaces.Dict):
            raise SpaceError(f"the action space {space} is not supported: {advice}. {WRAPPER}")
        raise SpaceError(f"the action space {space} is not supported: {advice}.")

    @classmethod
    def _of_multi_discrete(cls, space: spaces.MultiDiscrete) -> ActionSpec:
        if space.nvec.ndim != 1:
            raise SpaceError(
                f"the action space {space} is not supported: expected one list of sizes, got the shape "
                f"{list(space.nvec.shape)}. Flatten it: MultiDiscrete(nvec.ravel()), and reshape the action in "
                "gymnasium.wrappers.TransformAction"
            )
        if len(space.nvec) == 1:
            raise SpaceError(
                f"the action space {space} is not supported: it has one dimension only, so declare it as "
                f"gymnasium.spaces.Discrete({int(space.nvec[0])})"
            )
        return cls(tuple(int(n) for n in space.nvec), tuple(int(n) for n in space.start))

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

    @property
    def unmasked(self) -> NDArray[np.bool_]:
        """The mask of one step that allows every action: (A,), or (M, A) where M > 1. Its shape is that of all masks."""
        return self.available[0] if self.dims == 1 else self.available

    @property
    def offset(self) -> NDArray[np.int64]:
        """What is added to an action counted from 0: an array without axes, or (M,) where M > 1."""
        return np.asarray(self.start[0] if self.dims == 1 else self.start, np.int64)

    def __str__(self) -> str:
        """As it is printed: "4", or "3 x 2" where there are several dimensions."""
        return " x ".join(map(str, self.sizes))
