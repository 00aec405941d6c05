"""Statistics of one feature over many decisions."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["QUANTILES", "FeatureSummary"]

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class FeatureSummary:
    """Statistics of one feature. Those of values are NaN where none is known."""

    missing: float  # share of decisions without a value
    mean: float
    std: float
    quantiles: tuple[float, ...]  # at `QUANTILES`

    @classmethod
    def of(cls, column: NDArray[np.float64]) -> FeatureSummary:
        """Compute them from a column (N,), in which NaN is a missing value."""
        known = column[np.isfinite(column)]
        missing = float(1.0 - known.size / max(column.size, 1))
        if not known.size:
            return cls(missing, math.nan, math.nan, (math.nan,) * len(QUANTILES))
        quantiles = tuple(float(one) for one in np.quantile(known, QUANTILES))
        return cls(missing, float(known.mean()), float(known.std()), quantiles)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, with None in place of NaN."""
        return {
            name: [_finite(one) for one in value] if isinstance(value, tuple) else _finite(value)
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FeatureSummary:
        """The inverse of `to_json`. Raises ValueError, TypeError or KeyError: the values are others."""
        quantiles = tuple(map(_number, data["quantiles"]))
        if len(quantiles) != len(QUANTILES):
            raise ValueError(f"expected {len(QUANTILES)} quantiles, got {len(quantiles)}")
        return cls(_number(data["missing"]), _number(data["mean"]), _number(data["std"]), quantiles)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
