"""Gymnasium spaces -> what tokens and heads need to know about them.

A (nested) observation space becomes a flat tuple of `Leaf`s, each with a kind that decides how it is embedded:

    vector      numbers: Box of floats or wide integers, MultiBinary
    image       uint8 pictures of at least 20 x 20 whose `high` is 255 (a small convolutional network reads them)
    grid        integer grids of categories, such as MiniGrid's `image` (codes, not pixels)
    categories  Discrete, MultiDiscrete, small vectors of small integers
    text        Text, as hashed byte trigrams for now

Everything here is numpy and JSON: no torch, so that the command line starts quickly.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from seqel.errors import ConfigError, SpaceError

__all__ = ["ActionSpec", "FlatObservation", "Leaf", "ObservationSpec", "lost_in_float32", "shift_for"]

Kind = Literal["vector", "image", "grid", "categories", "text"]

IMAGE_SIDE = 20  # a uint8 grid up to 255 with both sides at least this long is a picture, a smaller one holds codes
BRIGHTEST = 255  # the `high` of a picture; a smaller one says that the values are codes
READINGS = ("pixels", "codes")  # how a grid of small integers can be read
LARGE = float(1 << 20)  # from here on float32 (24 bits) may lack the digits that tell values apart
LEVELS = 256  # values between the least and the greatest that float32 must still tell apart
CATEGORY_LIMIT = 256  # an integer range up to this wide is read as categories
CODES_LIMIT = 1 << 20  # codes that an embedding table still has a row for
TEXT_TOKENS = 64  # byte trigrams kept of a text
TEXT_BUCKETS = 4096

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

SUPPORTED = "Supported: Box, Discrete, MultiDiscrete, MultiBinary, Text, and Dict or Tuple of these, nested."


class FlatObservation(dict[str, NDArray[Any]]):
    """A flat dict of leaves, told apart from a nested observation by its type: no guessing on the hot path."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One array of an observation."""

    path: str  # key in the flat observation dict
    keys: tuple[str | int, ...]  # the way to it in the nested observation
    kind: Kind
    shape: tuple[int, ...]  # as stored, without batch axes
    dtype: str  # as stored
    given: tuple[int, ...] = ()  # shape as the environment gives it; a vector or categories are stored flat
    offset: tuple[float, ...] = ()  # what is subtracted before storing: codes count from 0, large numbers fit float32
    sizes: tuple[int, ...] = ()  # categories: number of codes, an element; grid: codes, a channel; text: buckets
    low: tuple[float, ...] = ()  # vector: bounds, an element (infinite where there are none)
    high: tuple[float, ...] = ()

    @property
    def channels_last(self) -> bool:
        """Whether an image's or grid's channel axis is its last one (as in MiniGrid), not its first (as in Atari)."""
        return len(self.shape) == 3 and (_channels_last(self.shape) or self.kind == "grid")

    def pick(self, observation: Any) -> Any:
        """This leaf's value in a nested observation.

        Raises:
            SpaceError: it is not there.
        """
        value = observation
        for key in self.keys:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError) as error:
                found = list(value) if isinstance(value, Mapping) else type(value).__name__
                raise SpaceError(f"the observation lacks {self.path!r}; found {found}") from error
        return value

    def __str__(self) -> str:
        detail = ""
        if self.kind == "categories":
            detail = f" of {'x'.join(map(str, self.sizes[:8]))}{'...' if len(self.sizes) > 8 else ''}"
        return f"{self.path}: {self.kind} {list(self.shape)} {self.dtype}{detail}"


@dataclass(frozen=True, slots=True)
class ObservationSpec:
    """The leaves of an observation space, in a fixed order."""

    leaves: tuple[Leaf, ...]

    @classmethod
    def from_space(cls, space: spaces.Space[Any], read_as: Mapping[str, str] | None = None) -> ObservationSpec:
        """Read a Gymnasium space.

        `read_as`: "pixels" or "codes" for the path of an integer grid, where its space does not tell (or tells wrongly).

        Raises:
            SpaceError: names the part that is not supported, and what would work.
            ConfigError: `read_as` names no leaf, or one that cannot be read so.
        """
        leaves: list[Leaf] = []
        _collect(space, (), leaves, dict(read_as or {}))
        if not leaves:
            raise SpaceError(f"the observation space {space} has no leaves: there is nothing to observe. {SUPPORTED}")
        paths = [leaf.path for leaf in leaves]
        twice = sorted({path for path in paths if paths.count(path) > 1})
        if twice:
            raise SpaceError(f"the observation space {space} has two parts called {twice[0]!r}: rename a key")
        unknown = sorted(set(read_as or {}) - set(paths))
        if unknown:
            raise ConfigError(f"observation: expected paths among {paths}, got {unknown[0]!r}")
        return cls(tuple(leaves))

    def same_reading(self, space: spaces.Space[Any]) -> ObservationSpec:
        """The leaves of another space, its integer grids read as they are here (as pixels, or as codes).

        Raises:
            SpaceError: as `from_space`.
        """
        names = {"image": "pixels", "grid": "codes"}
        read_as = {leaf.path: names[leaf.kind] for leaf in self.leaves if leaf.kind in names and leaf.dtype == "uint8"}
        try:
            return ObservationSpec.from_space(space, read_as)
        except ConfigError:  # another space altogether
            return ObservationSpec.from_space(space)

    @classmethod
    def from_json(cls, data: list[dict[str, Any]]) -> ObservationSpec:
        """The inverse of `to_json`."""
        leaves: list[dict[str, Any]] = [
            {name: tuple(value) if isinstance(value, list) else value for name, value in leaf.items()} for leaf in data
        ]
        return cls(tuple(Leaf(**leaf) for leaf in leaves))

    def to_json(self) -> list[dict[str, Any]]:
        """Plain lists and dicts, for `config.json`."""
        return [asdict(leaf) for leaf in self.leaves]

    @property
    def storage(self) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shape and dtype of every leaf, as replay stores them."""
        return {leaf.path: (leaf.shape, np.dtype(leaf.dtype)) for leaf in self.leaves}

    def flatten(self, observation: Any, batch: int | None) -> FlatObservation:
        """A nested observation as the environment gives it -> a flat dict of arrays (batch, *shape).

        `batch` None: one observation without a batch axis; the result has none either.

        Raises:
            SpaceError: a leaf is missing, has another shape than its space said, or a code outside its space.
        """
        return FlatObservation((leaf.path, _read(leaf, observation, batch)) for leaf in self.leaves)

    def rows(self, observation: Any) -> int:
        """How many rows a batch of observations has, nested or flat. The first leaf tells.

        Raises:
            SpaceError: that leaf is missing, or has no batch axis.
        """
        leaf = self.leaves[0]
        flat = isinstance(observation, FlatObservation)
        value = observation[leaf.path] if flat else leaf.pick(observation)
        single = np.ndim(value) <= len(leaf.shape) if flat else _lacks_batch_axis(leaf, value)
        if single:
            raise SpaceError(
                f"observation {leaf.path!r}: expected a batch, every leaf with one row per environment first, got a single "
                "observation. Add the axis (`observation[None]`), or use `predict`, which takes both"
            )
        return len(value)

    def is_single(self, observation: Any) -> bool:
        """Whether this nested observation is one, without a batch axis. The first leaf tells.

        Raises:
            SpaceError: that leaf is missing.
        """
        leaf = self.leaves[0]
        value = leaf.pick(observation)
        if leaf.kind == "text":
            return isinstance(value, str)
        return bool(np.ndim(value) <= len(leaf.given))


def _lacks_batch_axis(leaf: Leaf, value: Any) -> bool:
    """Leaves come in the shape of their space, or flat."""
    if leaf.kind == "text":
        return isinstance(value, str)
    return np.ndim(value) <= min(len(leaf.given), len(leaf.shape))


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """A discrete action space: `sizes` and `start` have one entry for each action dimension (one for Discrete)."""

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


def _collect(
    space: spaces.Space[Any], keys: tuple[str | int, ...], leaves: list[Leaf], read_as: Mapping[str, str]
) -> None:
    if isinstance(space, spaces.Dict):
        for name, part in space.spaces.items():
            _collect(part, (*keys, name), leaves, read_as)
        return
    if isinstance(space, spaces.Tuple):
        for number, part in enumerate(space.spaces):
            _collect(part, (*keys, number), leaves, read_as)
        return
    path = "/".join(map(str, keys)) or "observation"
    leaf = _leaf(space, path, keys, read_as.get(path))
    leaves.append(leaf)


def _leaf(space: spaces.Space[Any], path: str, keys: tuple[str | int, ...], reading: str | None) -> Leaf:
    if reading is not None:
        return _read_integers(space, path, keys, reading)
    if isinstance(space, spaces.Discrete):
        return Leaf(
            path, keys, "categories", (1,), "int64", (), (int(space.start),), (_codes(int(space.n), space, path),)
        )
    if isinstance(space, spaces.MultiDiscrete):
        sizes = tuple(int(n) for n in space.nvec.reshape(-1))
        offset = tuple(int(n) for n in space.start.reshape(-1))
        _codes(sum(sizes), space, path)
        return Leaf(path, keys, "categories", (len(sizes),), "int64", _shape(space), offset, sizes)
    if isinstance(space, spaces.MultiBinary):
        size = int(np.prod(space.shape))
        return Leaf(path, keys, "vector", (size,), "uint8", _shape(space), low=(0.0,) * size, high=(1.0,) * size)
    if isinstance(space, spaces.Text) or getattr(space.dtype, "kind", "") == "U":  # MiniGrid has a space of its own
        return Leaf(path, keys, "text", (TEXT_TOKENS,), "int16", sizes=(TEXT_BUCKETS,))
    if isinstance(space, spaces.Box):
        return _box(space, path, keys)
    raise SpaceError(f"observation {path!r} has the unsupported space {space}. {SUPPORTED}")


def _shape(space: spaces.Space[Any]) -> tuple[int, ...]:
    return tuple(int(n) for n in space.shape or ())


def _codes(count: int, space: spaces.Space[Any], path: str) -> int:
    """`count`, if a table with a row a code is still sensible."""
    if count > CODES_LIMIT:
        raise SpaceError(
            f"observation {path!r}: {space} has {count:,} codes, and each would need an embedding of its own; give it "
            f"as a Box of numbers, or as a MultiDiscrete of digits (at most {CODES_LIMIT:,} codes in all)"
        )
    return count


def _channels_last(shape: tuple[int, ...]) -> bool:
    return shape[2] <= shape[0]


def _is_picture(shape: tuple[int, ...]) -> bool:
    """Two sides of at least IMAGE_SIDE, after the channel axis is set aside."""
    if len(shape) == 3:
        shape = shape[:2] if _channels_last(shape) else shape[1:]
    return len(shape) == 2 and min(shape) >= IMAGE_SIDE


def _box(space: spaces.Box, path: str, keys: tuple[str | int, ...]) -> Leaf:
    shape = _shape(space)
    integer = np.issubdtype(space.dtype, np.integer)
    size = int(np.prod(shape))
    if size == 0:
        raise SpaceError(f"observation {path!r} has the empty space {space}. {SUPPORTED}")
    if space.dtype == np.uint8 and _is_picture(shape) and np.max(space.high) == BRIGHTEST:
        return Leaf(path, keys, "image", shape, "uint8", shape)
    if space.dtype == np.uint8 and _is_picture(shape) and np.max(space.high) <= 1:  # planes of yes and no
        return Leaf(path, keys, "image", shape, "bool", shape)
    if space.dtype == np.bool_ and len(shape) == 3:  # planes of yes and no, as in MinAtar
        return Leaf(path, keys, "image", shape, "bool", shape)
    low, high = np.asarray(space.low, np.float64).reshape(-1), np.asarray(space.high, np.float64).reshape(-1)
    spread = _spread(space) if integer else np.array([CATEGORY_LIMIT], np.uint64)
    narrow = bool(np.all(spread < CATEGORY_LIMIT))
    if narrow and len(shape) in (2, 3) and low.min() >= 0 and high.max() < CATEGORY_LIMIT:  # a code is kept in a byte
        channels = shape[-1] if len(shape) == 3 else 1
        return Leaf(path, keys, "grid", shape, "uint8", shape, sizes=(int(high.max()) + 1,) * channels)
    if narrow and size <= 64 and np.all(spread < 32):
        sizes = tuple(int(n) + 1 for n in spread)
        start = tuple(int(n) for n in space.low.reshape(-1))
        return Leaf(path, keys, "categories", (size,), "int64", shape, start, sizes)
    dtype = space.dtype.name if integer and space.dtype.itemsize <= 2 else "float32"
    offset = shift_for(space.low.reshape(-1), space.high.reshape(-1))
    if offset:
        low, high = low - np.asarray(offset), high - np.asarray(offset)
    bounds = tuple(float(n) for n in low), tuple(float(n) for n in high)
    return Leaf(path, keys, "vector", (size,), dtype, shape, offset, low=bounds[0], high=bounds[1])


def _spread(space: spaces.Box) -> NDArray[np.uint64]:
    """high - low of integers, exactly: unsigned numbers wrap around, so the difference is right for any of 64 bits."""
    wide = np.uint64 if space.dtype == np.uint64 else np.int64
    low, high = (bound.reshape(-1).astype(wide).view(np.uint64) for bound in (space.low, space.high))
    return np.asarray(high - low, np.uint64)


def _read_integers(space: spaces.Space[Any], path: str, keys: tuple[str | int, ...], reading: str) -> Leaf:
    """A grid of small integers as it is asked for: "pixels" or "codes"."""
    if reading not in READINGS:
        raise ConfigError(f"observation {path!r}: expected one of {list(READINGS)}, got {reading!r}")
    shape = _shape(space)
    fits = isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.integer) and len(shape) in (2, 3)
    if not isinstance(space, spaces.Box) or not fits or np.min(space.low) < 0 or np.max(space.high) > BRIGHTEST:
        raise ConfigError(
            f"observation {path!r}: only a Box of integers from 0 to {BRIGHTEST} of two or three axes can be read as "
            f"{reading}, got {space}"
        )
    if reading == "pixels":
        return Leaf(path, keys, "image", shape, "uint8", shape)
    channels = shape[-1] if len(shape) == 3 else 1
    return Leaf(path, keys, "grid", shape, "uint8", shape, sizes=(int(np.max(space.high)) + 1,) * channels)


def shift_for(low: NDArray[Any], high: NDArray[Any]) -> tuple[float, ...]:
    """What to subtract from numbers within these bounds before they become float32: () where nothing has to be.

    float32 keeps 24 bits, so a time of 1.7e9 seconds cannot be told from one a minute later. Where all allowed values are
    large and of one sign, the bound nearest to 0 is subtracted (in float64, or as an integer): that never makes a number
    larger. low, high (n,) of a type that is wider than float32; others are returned without a shift.
    """
    if low.dtype.itemsize <= 2 or low.dtype == np.float32:
        return ()
    nearest = np.where(low > 0, low, np.where(high < 0, high, 0))
    shifts = tuple(near if np.isfinite(near) and abs(near) >= LARGE else 0 for near in nearest.tolist())
    return shifts if any(shifts) else ()


def lost_in_float32(least: NDArray[Any], greatest: NDArray[Any]) -> NDArray[np.bool_]:
    """Where numbers between these differ, but hardly do once they are float32.  least, greatest (n,) float64 -> (n,).

    True where the numbers are large (at least 2^20), and float32 has fewer than 256 values between the two.
    """
    spread = np.asarray(greatest, np.float64) - np.asarray(least, np.float64)
    size = np.maximum(np.abs(least), np.abs(greatest)).astype(np.float64)
    return np.asarray((spread > 0) & (size >= LARGE) & (spread < LEVELS * size * 2.0**-23), np.bool_)


def shifted(leaf: Leaf, array: NDArray[Any]) -> NDArray[Any]:
    """Numbers (..., n) without the leaf's offset, still at their full precision."""
    if not leaf.offset:
        return array
    if array.dtype.kind in "iu" and all(isinstance(part, int) and abs(part) < 1 << 62 for part in leaf.offset):
        return array.astype(np.int64) - np.asarray(leaf.offset, np.int64)
    return array.astype(np.float64) - np.asarray(leaf.offset, np.float64)


def _read(leaf: Leaf, observation: Any, batch: int | None) -> NDArray[Any]:
    value = leaf.pick(observation)
    if leaf.kind == "text":
        return _read_texts(leaf, value, batch)
    lead = () if batch is None else (batch,)
    try:
        array = np.asarray(value)
        if array.shape not in ((*lead, *leaf.given), (*lead, *leaf.shape)):
            got = f"{list(array.shape)} {array.dtype}"
            raise SpaceError(f"observation {leaf.path!r}: expected {[*lead, *leaf.given]} as its space says, got {got}")
        array = array.reshape((*lead, *leaf.shape))
        if leaf.kind == "categories":
            codes: NDArray[np.int64] = array.astype(np.int64) - np.asarray(leaf.offset, np.int64)
            if codes.size and (codes.min() < 0 or (codes >= np.asarray(leaf.sizes)).any()):
                raise SpaceError(f"observation {leaf.path!r}: a value is outside its space, among {_some(array)}")
            return codes
        stored = shifted(leaf, array).astype(leaf.dtype, copy=False)
    except (TypeError, ValueError) as error:  # ragged, None, not numbers
        if isinstance(error, SpaceError):
            raise
        raise SpaceError(f"observation {leaf.path!r}: expected numbers, got {value!r:.80}") from error
    if stored is not array and leaf.dtype != "float32" and not np.array_equal(stored, array):
        raise SpaceError(f"observation {leaf.path!r}: expected {leaf.dtype} as its space says, got {_some(array)}")
    if leaf.kind == "grid" and stored.size and stored.max() >= leaf.sizes[0]:
        raise SpaceError(f"observation {leaf.path!r}: expected codes below {leaf.sizes[0]}, got {stored.max()}")
    if leaf.kind == "vector" and not np.isfinite(stored).all():
        at = np.argwhere(~np.isfinite(stored))[0].tolist()
        raise SpaceError(f"observation {leaf.path!r}: expected finite numbers, got {stored[tuple(at)]} at {at}")
    return stored


def _read_texts(leaf: Leaf, value: Any, batch: int | None) -> NDArray[np.int16]:
    texts = [value] if batch is None else list(value)
    if (batch is not None and len(texts) != batch) or not all(isinstance(text, str) for text in texts):
        wanted = "a text" if batch is None else f"{batch} texts"
        raise SpaceError(f"observation {leaf.path!r}: expected {wanted}, got {value!r:.80}")
    if batch is None:
        return hash_text(value, leaf.shape[0]).copy()  # the cached one is read-only
    return (
        np.stack([hash_text(text, leaf.shape[0]) for text in texts]) if texts else np.zeros((0, *leaf.shape), np.int16)
    )


def _some(array: NDArray[Any]) -> list[Any]:
    found: list[Any] = array.reshape(-1)[:8].tolist()
    return found


@lru_cache(maxsize=16384)
def hash_text(text: str, length: int = TEXT_TOKENS) -> NDArray[np.int16]:
    """A text's first `length` byte trigrams, hashed to 1..TEXT_BUCKETS-1; 0 is padding.  (length,) int16."""
    data = b"\x02" + text.encode("utf-8", errors="replace") + b"\x03"
    grams = [data[i : i + 3] for i in range(min(max(1, len(data) - 2), length))]
    codes = np.zeros(length, np.int16)
    codes[: len(grams)] = [zlib.crc32(gram) % (TEXT_BUCKETS - 1) + 1 for gram in grams]
    codes.flags.writeable = False
    return codes
