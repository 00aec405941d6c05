"""Statistics against numbers computed by hand, against scipy, and by the coverage of the intervals."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest
import scipy.stats

from seqel.errors import ConfigError, DataError
from seqel.evaluation.statistics import bootstrap_interval, first_reached, interquartile_mean, mean, success_interval


def test_means_by_hand() -> None:
    assert mean([1, 2, 6]) == 3.0
    assert interquartile_mean([100, 1, 2, -50]) == 1.5  # 1 and 2 are the middle half
    assert interquartile_mean([5, 1, 2, 3, 1000]) == pytest.approx(10 / 3)  # one left out at each end
    assert interquartile_mean([1, 2, 6]) == 3.0
    assert interquartile_mean([7]) == 7.0
    assert interquartile_mean(range(8)) == 3.5


@pytest.mark.parametrize("size", range(1, 14))
def test_interquartile_mean_equals_scipy(size: int) -> None:
    values = np.random.default_rng(size).exponential(size=size)
    assert interquartile_mean(values) == pytest.approx(scipy.stats.trim_mean(values, 0.25), rel=1e-12)


@pytest.mark.parametrize("statistic", [mean, interquartile_mean])
def test_bulk_statistics_equal_one_by_one(statistic: Any) -> None:
    values = np.random.default_rng(0).normal(size=30)
    slow = bootstrap_interval(values, functools.partial(statistic), resamples=300)
    assert bootstrap_interval(values, statistic, resamples=300) == pytest.approx(slow, rel=1e-12)


def test_bootstrap_equals_scipy() -> None:
    values = np.random.default_rng(1).exponential(size=60)
    ours = bootstrap_interval(values, resamples=20_000)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=2
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.04 * width)


def test_bootstrap_of_two_values_by_hand() -> None:
    """Resamples of (0, 1): mean 0 with probability 1/4, 1/2 with 1/2, 1 with 1/4."""
    assert bootstrap_interval([0, 1], confidence=0.95) == (0.0, 1.0)
    assert bootstrap_interval([0, 1], confidence=0.4) == (0.5, 0.5)


def test_bootstrap_edges() -> None:
    assert bootstrap_interval([3.0] * 10) == (3.0, 3.0)
    assert all(math.isnan(end) for end in bootstrap_interval([3.0]))
    values = np.random.default_rng(0).normal(size=50)
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)
    narrow, wide = bootstrap_interval(values, confidence=0.5), bootstrap_interval(values, confidence=0.99)
    assert wide[0] < narrow[0] < mean(values) < narrow[1] < wide[1]


def test_bootstrap_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=50)
    whole = bootstrap_interval(values, resamples=500)
    monkeypatch.setattr("seqel.evaluation.statistics._BLOCK", 170)  # 3 rows at a time, 500 not a multiple
    assert bootstrap_interval(values, resamples=500) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("statistic", [mean, interquartile_mean])
def test_bootstrap_intervals_have_the_stated_coverage(statistic: Any) -> None:
    """600 experiments of 50 normal numbers: 95 % intervals contain the truth in 93 to 95 %, up to chance."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(600):
        low, high = bootstrap_interval(rng.normal(2.0, 3.0, size=50), statistic, resamples=400)
        held += low <= 2.0 <= high
    assert 0.91 <= held / 600 <= 0.97


def test_wilson_by_hand() -> None:
    z2 = 1.959963984540054**2
    assert success_interval(100, 100) == pytest.approx((100 / (100 + z2), 1.0))
    assert success_interval(0, 100) == pytest.approx((0.0, z2 / (100 + z2)))
    assert success_interval(5, 10) == pytest.approx((0.236593, 0.763407), abs=1e-6)  # Newcombe's tables: 0.2366, 0.7634
    assert success_interval(100, 100)[1] == 1.0
    assert success_interval(0, 3)[0] == 0.0


@pytest.mark.parametrize(("successes", "episodes"), [(0, 1), (1, 1), (3, 7), (50, 100), (199, 200)])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
def test_wilson_equals_scipy(successes: int, episodes: int, confidence: float) -> None:
    theirs = scipy.stats.binomtest(successes, episodes).proportion_ci(confidence, method="wilson")
    assert success_interval(successes, episodes, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_coverage() -> None:
    """Exactly, by summing the binomial: near 95 % on average, and never far below it for ordinary proportions."""
    episodes = 100
    intervals = [success_interval(k, episodes) for k in range(episodes + 1)]
    coverages = []
    for truth in np.linspace(0.05, 0.95, 181):
        chances = scipy.stats.binom.pmf(np.arange(episodes + 1), episodes, truth)
        coverages.append(
            sum(chance for chance, (low, high) in zip(chances, intervals, strict=True) if low <= truth <= high)
        )
    assert min(coverages) > 0.91
    assert 0.945 < np.mean(coverages) < 0.96


def test_first_reached() -> None:
    steps, values = [10, 20, 30, 40, 50], [0.1, 0.9, 0.5, 0.9, 0.95]
    assert first_reached(steps, values, 0.9) == 20
    assert first_reached(steps, values, 0.9, hold=2) == 40
    assert first_reached(steps, values, 0.9, hold=3) is None
    assert first_reached(steps, values, 0.1) == 10
    assert first_reached(steps, values, 0.96) is None
    assert first_reached([], [], 0.0) is None
    assert first_reached([1.5, 2.5], [math.nan, 1.0], 0.5) == 2.5


def test_wrong_arguments_are_refused() -> None:
    for values in ([], [[1.0, 2.0]], 3.0):
        with pytest.raises(DataError, match="expected a one-dimensional array of one or more numbers"):
            mean(values)
    for function in (mean, interquartile_mean, bootstrap_interval):
        with pytest.raises(DataError, match="expected finite numbers, got nan among 2"):
            function([1.0, math.nan])
    for confidence in (0, 1, 95, -0.1, math.nan):
        with pytest.raises(ConfigError, match="confidence: expected"):
            bootstrap_interval([1, 2], confidence=confidence)
        with pytest.raises(ConfigError, match="confidence: expected"):
            success_interval(1, 2, confidence)
    with pytest.raises(ConfigError, match="resamples: expected at least 1"):
        bootstrap_interval([1, 2], resamples=0)
    for successes, episodes in ((1, 0), (3, 2), (-1, 2)):
        with pytest.raises(DataError, match=f"got {successes} in {episodes}"):
            success_interval(successes, episodes)
    with pytest.raises(DataError, match="2 steps and 1 values"):
        first_reached([1, 2], [1.0], 0.0)
    with pytest.raises(DataError, match="increasing steps"):
        first_reached([1, 1], [1.0, 1.0], 0.0)
    with pytest.raises(ConfigError, match="hold"):
        first_reached([1], [1.0], 0.0, hold=0)
