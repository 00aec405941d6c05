"""Large numbers that have to fit float32: what is subtracted from them, and where digits would be lost."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.spaces.leaf import Leaf

__all__ = ["lost_in_float32", "shift_for", "shifted"]

LARGE = float(1 << 20)  # from here on float32 (24 bits) may lack the digits that distinguish values
LEVELS = 256  # values between the least and the greatest that float32 must still distinguish


def shift_for(low: NDArray[Any], high: NDArray[Any]) -> tuple[float, ...]:
    """What to subtract from numbers within these bounds before they become float32: () where nothing has to be.

    float32 keeps 24 bits, so a time of 1.7e9 seconds is equal to one a minute later. Where all allowed values are
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
