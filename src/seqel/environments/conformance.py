"""Checks of an environment against its spaces and Gymnasium's rules; what they find are warnings, not errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from seqel.errors import SeqelError, SpaceError
from seqel.spaces import Leaf, ObservationSpec
from seqel.spaces.precision import lost_in_float32, shifted

__all__ = ["Watcher", "replays"]

DIM = 32  # an image whose largest observed value is below this may hold codes instead
BRIGHT = 64  # codes with values from here on may be brightness instead


class Watcher:
    """Checks every raw observation of the probe; `warnings` and `require_distinct` report the results."""

    def __init__(self, space: gym.Space[Any], spec: ObservationSpec, said: frozenset[str]) -> None:
        """`said`: the paths for which the user has chosen how they are read (pixels or codes)."""
        self.space, self.spec, self._chosen = space, spec, said
        self._faults: dict[str, str] = {}  # kind and path -> text
        self._least: dict[str, NDArray[np.float64]] = {}
        self._greatest: dict[str, NDArray[np.float64]] = {}

    def see(self, observation: Any) -> None:
        """Check one observation, as returned by the environment."""
        for path, space, value in _parts(self.space, observation, ()):
            for kind, text in _faults(space, value):
                self._faults.setdefault(f"{kind} {path}", f"observation {path!r}: {text}")
        for leaf in self.spec.leaves:
            if leaf.kind in ("vector", "image", "grid"):
                self._extend(leaf, np.asarray(leaf.pick(observation)).reshape(leaf.shape))

    def _extend(self, leaf: Leaf, array: NDArray[Any]) -> None:
        if leaf.kind != "vector":
            array = np.array([array.min(), array.max()])
        values = shifted(leaf, array).astype(np.float64)
        least, greatest = self._least.get(leaf.path, values), self._greatest.get(leaf.path, values)
        self._least[leaf.path], self._greatest[leaf.path] = np.minimum(least, values), np.maximum(greatest, values)

    def require_distinct(self) -> None:
        """Raise SpaceError if different numbers become (nearly) equal in float32."""
        for leaf in self.spec.leaves:
            if leaf.kind != "vector" or leaf.path not in self._least:
                continue
            least, greatest = self._least[leaf.path], self._greatest[leaf.path]
            lost = np.flatnonzero(lost_in_float32(least, greatest))
            if len(lost):
                at = int(lost[0])
                offset = float(leaf.offset[at]) if leaf.offset else 0.0
                raise SpaceError(
                    f"observation {leaf.path!r}: element {at} went from {least[at] + offset:.17g} to "
                    f"{greatest[at] + offset:.17g} in play, and float32 (about 7 digits) can barely distinguish these. "
                    "Subtract a constant in the environment, or declare a float64 or int64 Box whose bounds are near the "
                    "values: the nearer bound is then subtracted before they become float32"
                )

    def warnings(self) -> list[str]:
        """Return a sentence for each thing that was found."""
        return [*self._faults.values(), *self._readings()]

    def _readings(self) -> Iterator[str]:
        """Yield warnings for uint8 grids where the space alone does not decide between brightness and codes."""
        for leaf in self.spec.leaves:
            if leaf.dtype != "uint8" or leaf.path in self._chosen or leaf.path not in self._greatest:
                continue
            most = int(self._greatest[leaf.path].max())
            setting = f"--set observation.{leaf.path}="
            if leaf.kind == "image" and most < DIM:
                yield (
                    f"{leaf.path!r} is read as an image, but no value in play was above {most}: if these are codes, lower "
                    f"the `high` of its Box, or say so ({setting}codes)"
                )
            if leaf.kind == "grid" and most >= BRIGHT:
                yield (
                    f"{leaf.path!r} is read as codes, and values in play went up to {most}: if these are brightness, say so "
                    f"({setting}pixels)"
                )


def replays(env: gym.Env[Any, Any], seed: int, actions: list[Any], trace: list[Any]) -> str:
    """Check that reset(seed) and the same actions give the same trace again.  -> "" or what differed.

    trace: [first observation, (observation, reward) of each action, ...]
    """
    try:
        observation, _ = env.reset(seed=seed)
        if not _equal(observation, trace[0]):
            return "the first observation differs"
        for number, action in enumerate(actions):
            observation, reward, terminated, truncated, _ = env.step(action)
            if reward != trace[number + 1][1]:
                return f"the reward of step {number + 1} differs"
            if not _equal(observation, trace[number + 1][0]):
                return f"the observation after step {number + 1} differs"
            if terminated or truncated:
                break
    except SeqelError as error:
        return f"the second time it failed: {error}"
    return ""


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return isinstance(other, dict) and all(
            name in other and _equal(part, other[name]) for name, part in one.items()
        )
    if isinstance(one, tuple):
        return isinstance(other, tuple) and all(map(_equal, one, other))
    one, other = np.asarray(one), np.asarray(other)
    numbers = one.dtype.kind == other.dtype.kind == "f"  # rows that are absent may hold NaN
    return bool(np.array_equal(one, other, equal_nan=numbers))


def _parts(space: gym.Space[Any], value: Any, keys: tuple[Any, ...]) -> Iterator[tuple[str, gym.Space[Any], Any]]:
    """Yield each leaf's path, space and value; missing leaves have been rejected before."""
    if isinstance(space, spaces.Dict):
        for name, part in space.items():
            yield from _parts(part, value[name], (*keys, name))
    elif isinstance(space, spaces.Tuple):
        for number, part in enumerate(space.spaces):
            yield from _parts(part, value[number], (*keys, number))
    else:
        yield "/".join(map(str, keys)) or "observation", space, value


def _faults(space: gym.Space[Any], value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(space, spaces.Box):
        array = np.asarray(value)
        if array.shape != space.shape:
            yield "shape", f"its shape is {list(array.shape)}, but its space says {list(space.shape)}"
            return
        if array.dtype != space.dtype:
            yield "dtype", f"its values are {array.dtype}, but its space says {space.dtype}"
        outside = (array < space.low) | (array > space.high)
        if outside.any():
            at = np.argwhere(outside)[0]
            place = tuple(int(n) for n in at)
            low, high = space.low[place], space.high[place]
            yield "bounds", f"a value was {array[place]:g} at {list(place)}, but its space says {low:g} to {high:g}"
    elif type(space) in CHECKED:
        _check: Callable[[Any], bool] = space.contains
        if not _check(value):
            yield "contains", f"{value!r:.60} is not in its space {space}"


CHECKED = (
    spaces.MultiBinary,
    spaces.Text,
)  # codes outside their space are rejected elsewhere; the spaces of other libraries may be slow here
