"""The range of the numbers in a column, and the offset to subtract so that float32 can distinguish them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Magnitudes"]

WHOLE = 2.0**24  # float32 represents every integer up to this
LOSS = 2.0**-20  # largest acceptable rounding error, as a share of a column's range


class Magnitudes:
    """The smallest and largest value of each of n elements, and whether all values are integers."""

    def __init__(self, elements: int) -> None:
        self.low = np.full(elements, np.inf)
        self.high = np.full(elements, -np.inf)
        self.whole = np.ones(elements, np.bool_)

    def add(self, values: NDArray[np.float64]) -> None:
        """Add a batch (N, n) float64; NaN is missing."""
        if not len(values):
            return
        self.low = np.fmin(self.low, np.fmin.reduce(values, axis=0))
        self.high = np.fmax(self.high, np.fmax.reduce(values, axis=0))
        self.whole &= (np.isnan(values) | (values == np.floor(values))).all(axis=0)

    @property
    def offset(self) -> NDArray[np.float64]:
        """Return what to subtract, (n,): the middle of the range if float32 would round the differences away, else 0.

        Integers stay integers. The result does not depend on the order of the rows.
        """
        size, spread = self._largest, self._spread
        needed = np.where(self.whole, size > WHOLE, size * 2.0**-24 > spread * LOSS)
        # If the range extends to about zero, as that of a heavy tail does, a shift gains nothing.
        gains = spread < size
        middle = np.where(np.isfinite(self.low), np.floor(self.low / 2 + self.high / 2), 0.0)
        return np.where(needed & gains, middle, 0.0)

    @property
    def lost_step(self) -> float:
        """Integers that differ by less than this may become equal in float32 after the shift; 0: all stay distinct."""
        rest = np.where(self.offset != 0, self._spread / 2 + 1, self._largest)
        rest = np.where(self.whole & (rest > WHOLE), rest, 0.0)
        return float(np.spacing(np.float32(rest.max(initial=0.0)))) if rest.any() else 0.0

    @property
    def indistinct(self) -> bool:
        """Whether an element that varies needs an offset."""
        return bool(((self.offset != 0) & (self._spread > 0)).any())

    @property
    def span(self) -> str:
        """The range of the element with the largest values, as text."""
        at = int(self._largest.argmax())
        return f"{self.low[at]:.10g} to {self.high[at]:.10g}"

    @property
    def _largest(self) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.where(
            np.isfinite(self.low), np.maximum(np.abs(self.low), np.abs(self.high)), 0.0
        )
        return found

    @property
    def _spread(self) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.where(np.isfinite(self.low), self.high - self.low, 0.0)
        return found
