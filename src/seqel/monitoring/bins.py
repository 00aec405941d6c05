"""Bins of features: deciles of numbers, codes of categories, and a bin for missing values; the population stability index.

    PSI = sum over bins of (p - q) ln(p / q)

for the shares p of the live decisions and q of the reference: the symmetrised Kullback-Leibler divergence, known by this name
from credit scoring (Siddiqi 2006, Credit Risk Scorecards). By convention, 0.1 to 0.25 is a moderate change; more is large.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from seqel.monitoring.features import Kind

__all__ = ["LARGE", "MODERATE", "Bins", "indices", "psi", "severity"]

DECILES = 10
FEW = 10  # distinct numbers that have a bin each
CODES = 20  # categories that have a bin each, the most frequent ones
MODERATE, LARGE = 0.1, 0.25  # of the population stability index, by custom
PSEUDO = 0.5  # added per bin, in units of reference episodes


def severity(value: float) -> str:
    """Return "small", "moderate" or "large", by the conventional limits."""
    return "large" if value >= LARGE else "moderate" if value >= MODERATE else "small"


@dataclass(frozen=True)
class Bins:
    """The bins of F features, K per feature at most.

    limits: by feature, the sorted edges between bins of a number (a value equal to an edge is above it), or the codes of a
    category. A number with n edges has n + 1 bins; a category with n codes has n + 1, the last one for other codes. One
    more bin of each feature, with the index `missing`, holds NaN.
    """

    kinds: tuple[Kind, ...]
    limits: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        most = max((len(limits) for limits in self.limits), default=0)
        number = np.array([kind == "number" for kind in self.kinds])
        padded = np.full((len(self.kinds), most), math.inf)
        for row, limits in zip(padded, self.limits, strict=True):
            row[: len(limits)] = limits
        object.__setattr__(self, "_numbers", number.nonzero()[0])
        object.__setattr__(self, "_categories", (~number).nonzero()[0])
        object.__setattr__(self, "_edges", padded[number])
        object.__setattr__(self, "_codes", padded[~number])
        object.__setattr__(self, "_others", np.array([len(self.limits[f]) for f in (~number).nonzero()[0]], np.intp))
        object.__setattr__(self, "missing", most + 1)

    missing: int = 0
    _numbers: NDArray[np.intp] = None  # type: ignore[assignment]
    _categories: NDArray[np.intp] = None  # type: ignore[assignment]
    _edges: NDArray[np.float64] = None  # type: ignore[assignment]
    _codes: NDArray[np.float64] = None  # type: ignore[assignment]
    _others: NDArray[np.intp] = None  # type: ignore[assignment]

    @classmethod
    def of(cls, rows: NDArray[np.float64], kinds: Sequence[Kind]) -> Bins:
        """Choose bins for the rows (N, F) of a reference."""
        limits = []
        for column, kind in zip(rows.T, kinds, strict=True):
            known = column[np.isfinite(column)]
            limits.append(_edges(known) if kind == "number" else _codes(known))
        return cls(tuple(kinds), tuple(limits))

    @property
    def width(self) -> int:
        """K: the bins of the widest feature, with the one for missing values."""
        return self.missing + 1

    @property
    def used(self) -> NDArray[np.float64]:
        """(F, K): 1 for the bins that a feature has."""
        found = np.zeros((len(self.kinds), self.width))
        for row, limits in zip(found, self.limits, strict=True):
            row[: len(limits) + 1] = 1.0
            row[self.missing] = 1.0
        return found

    def index(self, rows: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Return the bin of each value: (R, F) -> (R, F)."""
        out = np.empty(rows.shape, np.uint8)
        if len(self._numbers):
            part = rows if not len(self._categories) else rows[:, self._numbers]
            out[:, self._numbers] = (part[:, :, None] >= self._edges).sum(axis=2, dtype=np.uint8)
        if len(self._categories):
            equal = rows[:, self._categories, None] == self._codes
            out[:, self._categories] = np.where(equal.any(axis=2), equal.argmax(axis=2), self._others)
        absent = np.isnan(rows)
        if absent.any():
            out[absent] = self.missing
        return out

    def counts(self, index: NDArray[np.uint8], weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Count bins: (N, F) -> (F, K). weights (N,): of the rows."""
        features, width = index.shape[1], self.width
        flat = (np.arange(features) * width + index).ravel()
        repeated = None if weights is None else np.repeat(weights, features)
        return np.bincount(flat, repeated, features * width).reshape(features, width).astype(np.float64)

    def labels(self, feature: int) -> list[str]:
        """Return the names of a feature's bins, without the one for missing values."""
        limits = self.limits[feature]
        if self.kinds[feature] == "category":
            return [*(f"{code:g}" for code in limits), "other"]
        if not limits:
            return ["all"]
        inner = [f"{low:.4g} to {high:.4g}" for low, high in pairwise(limits)]
        return [f"below {limits[0]:.4g}", *inner, f"from {limits[-1]:.4g}"]


def psi(
    live: NDArray[np.float64], reference: NDArray[np.float64], used: NDArray[np.float64], episodes: float
) -> NDArray[np.float64]:
    """Return the population stability index by feature.

    A bin that is empty on one side would make it infinite. Both sides are therefore mixed with a uniform distribution over
    the feature's bins, as if the reference had `PSEUDO` more episodes per bin: an episode, and not a decision, because the
    decisions of an episode are alike, and a value that is new to the reference may fill a whole episode.

    Args:
        live: (..., F, K) counts. reference: (F, K) counts. used: (F, K), as `Bins.used`. episodes: of the reference.
    """
    bins = used.sum(axis=-1, keepdims=True)
    share = PSEUDO * bins / (episodes + PSEUDO * bins)
    uniform = share * used / bins
    total = live.sum(axis=-1, keepdims=True)
    p = (1.0 - share) * live / np.maximum(total, 1.0) + uniform
    q = (1.0 - share) * reference / np.maximum(reference.sum(axis=-1, keepdims=True), 1e-12) + uniform
    empty = 1.0 - used  # bins that the feature does not have: 1 on both sides, which adds nothing
    found: NDArray[np.float64] = ((p - q) * np.log((p + empty) / (q + empty))).sum(axis=-1)
    return found


def indices(
    live: NDArray[np.float64], reference: NDArray[np.float64], used: NDArray[np.float64], episodes: float
) -> NDArray[np.float64]:
    """Return the population stability index by feature, and after these, of whether a value is missing: (..., 2 F).

    The latter is calm where the values themselves vary much from session to session.
    """
    pairs = [np.stack([part[..., :-1].sum(axis=-1), part[..., -1]], axis=-1) for part in (live, reference)]
    absent = psi(pairs[0], pairs[1], np.ones((len(used), 2)), episodes)
    return np.concatenate([psi(live, reference, used, episodes), absent], axis=-1)


def _edges(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Return deciles and two far limits; or, for few distinct numbers, the middles between them and two outer limits."""
    if not values.size:
        return ()
    distinct = np.unique(values)
    if len(distinct) <= FEW:
        gap = np.diff(distinct).min() if len(distinct) > 1 else max(abs(distinct[0]) * 1e-3, 1e-6)
        middles = (distinct[1:] + distinct[:-1]) / 2
        return (float(distinct[0] - gap / 2), *map(float, middles), float(distinct[-1] + gap / 2))
    inner = np.quantile(values, np.arange(1, DECILES) / DECILES)
    found, often = np.unique(inner, return_counts=True)
    above = np.nextafter(found[often > 1], math.inf)  # a number that fills several deciles has a bin of its own
    low, high = distinct[0], distinct[-1]
    return tuple(float(one) for one in np.unique([2 * low - high, *found, *above, 2 * high - low]))


def _codes(values: NDArray[np.float64]) -> tuple[float, ...]:
    codes, often = np.unique(values, return_counts=True)
    chosen = np.argsort(-often, kind="stable")[:CODES]
    return tuple(float(code) for code in np.sort(codes[chosen]))
