"""Statistics of a few returns: means and confidence intervals. Pure functions of numbers."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from seqel.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

__all__ = ["bootstrap_interval", "first_reached", "interquartile_mean", "mean", "success_interval"]

_BLOCK = 1_000_000  # resampled numbers held at once


def mean(values: ArrayLike) -> float:
    """Return the mean of one or more finite numbers. Raises DataError if there are none, or if one is not finite."""
    return float(np.mean(_numbers(values)))


def interquartile_mean(values: ArrayLike) -> float:
    """Return the mean of the middle half: a quarter of the numbers, rounded down, is left out at each end.

    As in rliable (Agarwal et al. 2021, arXiv:2108.13264), which uses scipy.stats.trim_mean. Fewer than four numbers
    give the plain mean. Raises DataError as `mean` does.
    """
    return float(_interquartile_means(_numbers(values)[None])[0])


def bootstrap_interval(
    values: ArrayLike,
    statistic: Callable[[ArrayLike], float] = mean,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile-bootstrap interval (low, high) of a statistic of independent numbers (Efron 1979).

    The same seed gives the same interval. For a single number, the result is (nan, nan). If all numbers are equal, the width
    is 0, which is overconfident for a proportion: use `success_interval` there. With fewer than about 20 numbers, the
    interval is somewhat too narrow. Any statistic works; `mean` and `interquartile_mean` are computed in bulk.

    Raises DataError as `mean` does, ConfigError if `confidence` is not between 0 and 1 or `resamples` < 1.
    """
    numbers = _numbers(values)  # (n,)
    _check_confidence(confidence)
    if resamples < 1:
        raise ConfigError(f"resamples: expected at least 1, got {resamples}")
    if len(numbers) == 1:
        return math.nan, math.nan
    if statistic is mean:
        rows: Callable[[NDArray[np.float64]], NDArray[np.float64]] = _means
    elif statistic is interquartile_mean:
        rows = _interquartile_means
    else:
        rows = lambda samples: np.array([statistic(sample) for sample in samples])  # noqa: E731
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // len(numbers))
    results = []
    for done in range(0, resamples, block):
        chosen = rng.integers(len(numbers), size=(min(block, resamples - done), len(numbers)))
        results.append(rows(numbers[chosen]))  # (block, n) -> (block,)
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(results), [tail, 1 - tail])
    return float(low), float(high)


def success_interval(successes: int, episodes: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval (low, high) of a proportion, within 0..1 (Wilson 1927).

    Unlike a bootstrap interval, it has a width at the ends: 100 successes in 100 episodes give (0.963, 1) and not (1, 1).

    Raises DataError if `episodes` < 1 or `successes` is not one of 0..episodes, ConfigError as `bootstrap_interval`.
    """
    _check_confidence(confidence)
    if episodes < 1 or not 0 <= successes <= episodes:
        raise DataError(f"expected 0..n successes in n >= 1 episodes, got {successes} in {episodes}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, weight = successes / episodes, z * z / episodes
    centre = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / episodes + weight / (4 * episodes)) / (1 + weight)
    # At the ends, the formula gives exactly 0 and 1 except for rounding.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == episodes else min(1.0, centre + half)
    return low, high


def first_reached(steps: Sequence[float], values: Sequence[float], threshold: float, hold: int = 1) -> float | None:
    """Return the first of `steps` (or seconds) at which the value is at least the threshold; a measure of convergence speed.

    With `hold` > 1, the value must stay there for that many evaluations in a row, of which the first counts: one lucky
    evaluation is not enough. NaN counts as not reached. None if the threshold is never reached.

    Raises DataError if `steps` and `values` differ in length or the steps do not rise, ConfigError if hold < 1.
    """
    if hold < 1:
        raise ConfigError(f"hold: expected at least 1 evaluation, got {hold}")
    if len(steps) != len(values):
        raise DataError(f"expected one value per step, got {len(steps)} steps and {len(values)} values")
    if any(not later > earlier for earlier, later in pairwise(steps)):
        raise DataError("expected increasing steps, got steps that do not increase")
    run = 0
    for index, value in enumerate(values):
        run = run + 1 if value >= threshold else 0
        if run == hold:
            return steps[index - hold + 1]
    return None


def _means(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """(rows, n) -> (rows,)"""
    return np.asarray(samples.mean(axis=1), np.float64)


def _interquartile_means(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """(rows, n) -> (rows,)"""
    cut = samples.shape[1] // 4
    return _means(np.sort(samples, axis=1)[:, cut : samples.shape[1] - cut])


def _numbers(values: ArrayLike) -> NDArray[np.float64]:
    numbers = np.asarray(values, np.float64)
    if numbers.ndim != 1 or len(numbers) == 0:
        raise DataError(f"expected a one-dimensional array of one or more numbers, got shape {numbers.shape}")
    if not np.isfinite(numbers).all():
        raise DataError(f"expected finite numbers, got {numbers[~np.isfinite(numbers)][0]} among {len(numbers)}")
    return numbers


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence: expected a number between 0 and 1, got {confidence}")
