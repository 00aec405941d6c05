"""Comparison of algorithms over several runs and tasks, as rliable defines it (Agarwal et al. 2021, arXiv:2108.13264).

The scores of an algorithm are one array of returns per task, with one return per run (seed): the arrays may differ in length.
Resampling is stratified: runs are drawn with replacement within each task, so that every task keeps its number of runs.
Differs: rliable needs the same number of runs in every task. Here, tasks have equal weights in the profile and in the
probability of improvement, and runs have equal weights in the interquartile mean; with equal numbers of runs, the results are
the same.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from seqel.errors import ConfigError, DataError
from seqel.evaluation.statistics import interquartile_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "aggregate_interval",
    "aggregate_iqm",
    "improvement_interval",
    "performance_profile",
    "probability_of_improvement",
]

Scores = list["NDArray[np.float64]"]  # one array (runs,) per task
RESAMPLES = 2_000


def aggregate_iqm(scores: Sequence[ArrayLike]) -> float:
    """Return the interquartile mean of the scores of all runs and tasks together.

    Raises DataError if there is no task, a task has no run, or a score is not finite.
    """
    return interquartile_mean(np.concatenate(_read(scores)))


def aggregate_interval(
    scores: Sequence[ArrayLike], confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """Return the stratified-bootstrap interval (low, high) of `aggregate_iqm`.

    (nan, nan) if no task has two runs: one run per task does not show how much seeds differ. Raises DataError as
    `aggregate_iqm` does, ConfigError if `confidence` is not between 0 and 1 or `resamples` < 1.
    """
    tasks = _read(scores)
    return _interval([tasks], lambda rng: aggregate_iqm(_drawn(tasks, rng)), confidence, resamples, seed)


def probability_of_improvement(first: Sequence[ArrayLike], second: Sequence[ArrayLike]) -> float:
    """Return the probability that a run of the first algorithm scores higher than one of the second on a random task.

    The mean over tasks of P(X > Y) + P(X = Y) / 2 over all pairs of runs, which is the Mann-Whitney U statistic over the
    number of pairs. Raises DataError as `aggregate_iqm` does, or if the numbers of tasks differ.
    """
    ones, others = _read(first), _read(second)
    if len(ones) != len(others):
        raise DataError(f"expected the same tasks of both algorithms, got {len(ones)} and {len(others)}")
    shares = [
        ((one[:, None] > other).mean() + 0.5 * (one[:, None] == other).mean())
        for one, other in zip(ones, others, strict=True)
    ]
    return float(np.mean(shares))


def improvement_interval(
    first: Sequence[ArrayLike],
    second: Sequence[ArrayLike],
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the stratified-bootstrap interval of `probability_of_improvement`; both algorithms' runs are resampled.

    Raises and returns (nan, nan) as `aggregate_interval` does.
    """
    ones, others = _read(first), _read(second)
    point = probability_of_improvement  # checks the number of tasks
    point(ones, others)
    return _interval(
        [ones, others], lambda rng: point(_drawn(ones, rng), _drawn(others, rng)), confidence, resamples, seed
    )


def performance_profile(
    scores: Sequence[ArrayLike],
    thresholds: ArrayLike,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the share of runs that score above each threshold, the mean over tasks, with a pointwise interval.

    The score distribution of Agarwal et al. 2021, section 4.  -> share, low, high, each (thresholds,); low and high are nan
    if no task has two runs. Raises as `aggregate_interval`.
    """
    tasks, at = _read(scores), np.asarray(thresholds, np.float64)
    _check(confidence, resamples)

    def profile(some: Scores) -> NDArray[np.float64]:
        return np.asarray(np.mean([(one[:, None] > at).mean(axis=0) for one in some], axis=0), np.float64)

    share = profile(tasks)
    if not _varied([tasks]):
        return share, np.full_like(share, math.nan), np.full_like(share, math.nan)
    rng = np.random.default_rng(seed)
    drawn = np.stack([profile(_drawn(tasks, rng)) for _ in range(resamples)])
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return share, low, high


def _interval(
    algorithms: list[Scores],
    draw: Callable[[np.random.Generator], float],
    confidence: float,
    resamples: int,
    seed: int,
) -> tuple[float, float]:
    _check(confidence, resamples)
    if not _varied(algorithms):
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    found = [draw(rng) for _ in range(resamples)]
    tail = (1 - confidence) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return float(low), float(high)


def _varied(algorithms: list[Scores]) -> bool:
    """Whether every algorithm has two runs of some task."""
    return all(any(len(task) > 1 for task in tasks) for tasks in algorithms)


def _drawn(tasks: Scores, rng: np.random.Generator) -> Scores:
    return [task[rng.integers(len(task), size=len(task))] for task in tasks]


def _check(confidence: float, resamples: int) -> None:
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence: expected a number between 0 and 1, got {confidence}")
    if resamples < 1:
        raise ConfigError(f"resamples: expected at least 1, got {resamples}")


def _read(scores: Sequence[ArrayLike]) -> Scores:
    tasks = [np.asarray(task, np.float64) for task in scores]
    if not tasks or any(task.ndim != 1 or len(task) == 0 for task in tasks):
        raise DataError(
            f"expected the scores of one or more runs per task, got shapes {[task.shape for task in tasks]}"
        )
    if not all(np.isfinite(task).all() for task in tasks):
        raise DataError("expected finite scores, got one that is not")
    return tasks
