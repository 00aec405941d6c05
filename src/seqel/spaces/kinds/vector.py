"""Numbers: a Box of floats or wide integers, MultiBinary."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from seqel.errors import SpaceError
from seqel.spaces.kinds.base import ArrayKind, Hint, Keys, Sketch, shape_of
from seqel.spaces.leaf import Leaf
from seqel.spaces.precision import shift_for

__all__ = ["VectorKind"]

ROUNDED = 3  # for counting, vectors up to this long are rounded, longer ones projected
SIGNS = 16  # random projections of a long vector
CELLS = 8.0  # cells a unit of normalised value, for rounding


class VectorKind(ArrayKind):
    """Numbers with bounds, `low` and `high` (infinite where there are none), stored flat."""

    name = "vector"
    reads = "numbers, scaled by their bounds or by statistics of the warm-up"

    def match(self, space: spaces.Space[Any], path: str, keys: Keys, hint: Hint | None) -> Leaf | None:
        if hint is not None:
            return None
        shape = shape_of(space)
        size = int(np.prod(shape))
        if isinstance(space, spaces.MultiBinary):
            return Leaf(path, keys, self.name, (size,), "uint8", shape, low=(0.0,) * size, high=(1.0,) * size)
        if not isinstance(space, spaces.Box):
            return None
        small = np.issubdtype(space.dtype, np.integer) and space.dtype.itemsize <= 2
        low, high = np.asarray(space.low, np.float64).reshape(-1), np.asarray(space.high, np.float64).reshape(-1)
        offset = shift_for(space.low.reshape(-1), space.high.reshape(-1))
        if offset:
            low, high = low - np.asarray(offset), high - np.asarray(offset)
        bounds = tuple(float(n) for n in low), tuple(float(n) for n in high)
        dtype = space.dtype.name if small else "float32"
        return Leaf(path, keys, self.name, (size,), dtype, shape, offset, low=bounds[0], high=bounds[1])

    def check(self, leaf: Leaf, array: NDArray[Any], stored: NDArray[Any]) -> None:
        super().check(leaf, array, stored)
        if not np.isfinite(stored).all():
            at = np.argwhere(~np.isfinite(stored))[0].tolist()
            raise SpaceError(f"observation {leaf.path!r}: expected finite numbers, got {stored[tuple(at)]} at {at}")

    def sketch_width(self, leaf: Leaf) -> int:
        return leaf.shape[0] if leaf.shape[0] <= ROUNDED else SIGNS

    def sketcher(self, leaf: Leaf, rng: np.random.Generator) -> Sketch:
        if leaf.shape[0] <= ROUNDED:
            return lambda x, normalise: np.asarray(np.rint(normalise(leaf.path, x) * CELLS), np.int64)
        directions = rng.standard_normal((leaf.shape[0], SIGNS)).astype(np.float32)
        return lambda x, normalise: np.asarray(normalise(leaf.path, x) @ directions > 0, np.int64)
