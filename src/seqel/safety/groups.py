"""Differences between groups of sessions: ratios per group, with bootstrap intervals over sessions.

A metric is a ratio of sums over sessions, such as reward / steps. Sessions are resampled within each group (a stratified
bootstrap; Efron & Tibshirani 1993, "An introduction to the bootstrap", chapter 8), because the steps of a session depend
on each other. The difference of a group is to all other sessions together. Many differences are computed at once, so `clear`
asks for more than a 95 % interval without 0: the difference must exceed its bootstrap standard error by the quantile of the
normal distribution that leaves 5 % for all of them together (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from seqel.errors import ConfigError, DataError

__all__ = ["MOST_GROUPS", "GroupValue", "compare_groups", "make_groups"]

MOST_GROUPS = 12  # more distinct numbers are cut into quarters, more distinct names are refused
UNKNOWN = "(missing)"
BLOCK = 4_000_000  # resampled counts held at once


@dataclass(frozen=True, slots=True)
class GroupValue:
    """One metric of one group."""

    metric: str
    group: str
    sessions: int
    value: float
    interval: tuple[float, float]  # 95 %; nan with fewer than two sessions
    difference: float  # to all other sessions
    difference_interval: tuple[float, float]
    clear: bool


def compare_groups(
    metrics: Mapping[str, tuple[NDArray[np.floating], NDArray[np.floating]]],
    groups: Sequence[str],
    *,
    resamples: int = 1_000,
    seed: int = 0,
) -> list[GroupValue]:
    """Compare groups of n sessions. metrics: name -> numerator (n,) and denominator (n,) of each session.

    Raises DataError if there are fewer than two groups.
    """
    named = np.asarray(groups, object)
    found = sorted(set(groups), key=lambda name: (name == UNKNOWN, name))
    if len(found) < 2:
        raise DataError(f"group: expected at least two groups, got {found}")
    names = list(metrics)
    sums = np.stack([np.stack(metrics[name], axis=1) for name in names], axis=1).astype(np.float64)  # (n, K, 2)
    rng = np.random.default_rng(seed)
    exact = {group: sums[named == group].sum(axis=0) for group in found}  # (K, 2)
    drawn = {group: _resampled(sums[named == group], resamples, rng) for group in found}  # (B, K, 2)
    total, total_drawn = sum(exact.values()), sum(drawn.values())
    z = NormalDist().inv_cdf(1.0 - 0.025 / (len(found) * len(names)))
    rows = []
    for k, name in enumerate(names):
        for group in found:
            size = int((named == group).sum())
            value, rest = _ratio(exact[group][k]), _ratio((total - exact[group])[k])
            boot = _ratio(drawn[group][:, k])
            apart = boot - _ratio((total_drawn - drawn[group])[:, k])
            enough = 1 < size < len(named) - 1
            deviation = float(np.nanstd(apart)) if enough else math.nan
            difference = float(value - rest)
            rows.append(GroupValue(
                name, group, size, float(value), _interval(boot if size > 1 else boot[:0]), difference,
                _interval(apart if enough else apart[:0]), bool(deviation > 0.0 and abs(difference) > z * deviation),
            ))  # fmt: skip
    return rows


def make_groups(values: Sequence[str | None]) -> list[str]:
    """Return the groups of sessions by a column: its names, or for numbers with many values, quarters of the sessions.

    Raises ConfigError if there are more names than can be compared.
    """
    known = [value for value in values if value is not None]
    if len(set(known)) <= MOST_GROUPS:
        return [UNKNOWN if value is None else value for value in values]
    try:
        numbers = np.array([float(value) for value in known])
    except ValueError as error:
        raise ConfigError(
            f"group: expected at most {MOST_GROUPS} different names, or numbers, got {len(set(known)):,} names"
        ) from error
    cuts = np.unique(np.quantile(numbers, [0.25, 0.5, 0.75]))
    edges = [float(numbers.min()), *cuts.tolist(), float(numbers.max())]
    width = max(len(f"{edge:.4g}") for edge in edges)
    labels = [f"{number + 1}: {low:>{width}.4g} to {high:.4g}" for number, (low, high) in enumerate(pairwise(edges))]

    def label(value: str | None) -> str:
        return UNKNOWN if value is None else labels[int(np.searchsorted(cuts, float(value), side="left"))]

    return [label(value) for value in values]


def _resampled(sums: NDArray[np.float64], resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the sums (B, K, 2) of sessions drawn with replacement: sums (n, K, 2) of each."""
    n = len(sums)
    flat, found, block = sums.reshape(n, -1), [], max(1, BLOCK // n)
    for begin in range(0, resamples, block):
        counts = rng.multinomial(n, np.full(n, 1.0 / n), size=min(block, resamples - begin))
        found.append(counts @ flat)
    return np.concatenate(found).reshape(resamples, *sums.shape[1:])


def _ratio(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 0] / sums[..., 1])


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    if not len(values) or not np.isfinite(values).any():
        return math.nan, math.nan
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)
