"""Boxes of small integers, which may be pixels, codes or numbers: how they are distinguished."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from seqel.errors import ConfigError
from seqel.spaces.kinds.base import Hint, shape_of

__all__ = ["BRIGHTEST", "CATEGORY_LIMIT", "is_narrow", "require_grid", "spread_of"]

BRIGHTEST = 255  # the `high` of a picture; a smaller one says that the values are codes
CATEGORY_LIMIT = 256  # an integer range up to this wide is read as categories


def spread_of(space: spaces.Box) -> NDArray[np.uint64]:
    """high - low of integers, exactly: unsigned numbers wrap around, so the difference is right for any of 64 bits."""
    wide = np.uint64 if space.dtype == np.uint64 else np.int64
    low, high = (bound.reshape(-1).astype(wide).view(np.uint64) for bound in (space.low, space.high))
    return np.asarray(high - low, np.uint64)


def is_narrow(space: spaces.Box) -> bool:
    """Whether these are integers, few enough to have an embedding each."""
    return bool(np.issubdtype(space.dtype, np.integer) and np.all(spread_of(space) < CATEGORY_LIMIT))


def require_grid(space: spaces.Space[Any], path: str, hint: Hint) -> tuple[int, ...]:
    """The shape of a grid of small integers that is to be read as "pixels" or "codes".  Raises ConfigError."""
    shape = shape_of(space)
    fits = isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.integer) and len(shape) in (2, 3)
    if not isinstance(space, spaces.Box) or not fits or np.min(space.low) < 0 or np.max(space.high) > BRIGHTEST:
        raise ConfigError(
            f"observation {path!r}: only a Box of integers from 0 to {BRIGHTEST} of two or three axes can be read as "
            f"{hint}, got {space}"
        )
    return shape
