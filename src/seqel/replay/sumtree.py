"""A sum tree: draws many indices at once in proportion to weights that change.

The tree is wide, so a million weights need four levels. A batch of draws or of changes takes a few numpy calls per level,
without a Python loop over its members.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["SumTree"]

FAN = 64


class SumTree:
    """`size` weights, all 0 at first. Each change recomputes the sums from the weights, so they do not drift."""

    def __init__(self, size: int) -> None:
        self._levels = [np.zeros(_rounded(size), np.float64)]  # the weights, then sums of FAN, of FAN^2, ...
        while len(self._levels[-1]) > FAN:
            self._levels.append(np.zeros(_rounded(len(self._levels[-1]) // FAN), np.float64))

    @property
    def total(self) -> float:
        """Return the sum of all weights."""
        return float(self._levels[-1].sum())

    @property
    def nbytes(self) -> int:
        """The size of all levels in bytes."""
        return sum(level.nbytes for level in self._levels)

    def get(self, index: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the weights at `index`, of any shape."""
        return self._levels[0][index]

    def set(self, index: NDArray[np.int64], weight: NDArray[np.float64] | float) -> None:
        """Set weights, index (N,). If an index occurs twice, the last weight is kept."""
        self._levels[0][index] = weight
        for lower, upper in zip(self._levels, self._levels[1:], strict=False):
            index = np.unique(index // FAN)
            upper[index] = lower.reshape(-1, FAN)[index].sum(axis=1)

    def find(self, mass: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the index into whose interval of the running sum each mass falls; 0 <= mass < total.  (N,) -> (N,).

        An index of weight 0 is never returned, even if rounding puts a mass at the very end.
        """
        node, mass = np.zeros(len(mass), np.int64), mass.astype(np.float64)
        for level in reversed(self._levels):
            children = level.reshape(-1, FAN)[node]  # (N, FAN)
            ends = np.cumsum(children, axis=1)
            last = FAN - 1 - np.argmax(children[:, ::-1] > 0.0, axis=1)
            child = np.minimum((ends <= mass[:, None]).sum(axis=1), last)
            rows = np.arange(len(mass))
            mass -= ends[rows, child] - children[rows, child]
            node = node * FAN + child
        return node


def _rounded(size: int) -> int:
    return -(-size // FAN) * FAN
