"""Comparison of algorithms: numbers worked by hand, and strata that are kept."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seqel.errors import ConfigError, DataError
from seqel.evaluation.comparison import (
    aggregate_interval,
    aggregate_iqm,
    improvement_interval,
    performance_profile,
    probability_of_improvement,
)


def test_the_interquartile_mean_is_over_runs_and_tasks_together() -> None:
    """Of 1 to 8, two are cut at each end: (3 + 4 + 5 + 6) / 4. The mean of each task's own would be 4.5 too, so skew it."""
    assert aggregate_iqm([[1, 2, 3, 4], [5, 6, 7, 8]]) == 4.5
    assert aggregate_iqm([[0, 0, 0, 0], [1, 1, 1, 100]]) == 0.5, "of the middle half, two are 0 and two are 1"


def test_the_probability_of_improvement_counts_ties_half_and_tasks_alike() -> None:
    """Task 1: of 6 pairs, (1, 2) twice lost, (2, 2) twice tied, (3, 2) twice won: 1/2. Task 2: won. The mean is 3/4."""
    assert probability_of_improvement([[1, 2, 3]], [[2, 2]]) == 0.5
    assert probability_of_improvement([[1, 2, 3], [5]], [[2, 2], [1]]) == 0.75
    one, other = [[3.0, 1.0, 4.0], [1.0, 5.0]], [[9.0, 2.0], [6.0, 5.0]]
    assert probability_of_improvement(one, other) == pytest.approx(1 - probability_of_improvement(other, one))


def test_a_performance_profile_is_the_share_of_runs_above() -> None:
    """Above 0.5: half of task 1, all of task 2. Above 2: none and half; a score equal to the threshold is not above it."""
    share, low, high = performance_profile([[0, 1], [2, 3]], [0.5, 2.0])
    assert share.tolist() == [0.75, 0.25]
    assert (low <= share).all() and (share <= high).all() and low[0] == 0.5 and high[1] == 0.5


def test_resampling_stays_within_tasks() -> None:
    """Each task's runs are equal, so every stratified resample is the same; one over all scores together is not."""
    assert aggregate_interval([[0, 0], [1, 1]]) == (0.5, 0.5)
    assert improvement_interval([[0, 0], [1, 1]], [[1, 1], [0, 0]]) == (0.5, 0.5)


def test_the_interval_of_two_runs_spans_both() -> None:
    """The mean of a resample is 0, 1/2 or 1 with chances 1/4, 1/2, 1/4: the 2.5 % and 97.5 % quantiles are 0 and 1."""
    assert aggregate_interval([[0, 1]]) == (0.0, 1.0)
    low, high = improvement_interval([[0, 1]], [[0.5]] * 1)
    assert math.isnan(low) and math.isnan(high), "one run of the second"
    assert aggregate_interval([[0, 1]], resamples=500, seed=3) == aggregate_interval([[0, 1]], resamples=500, seed=3)


def test_a_single_run_per_task_has_no_interval() -> None:
    assert all(map(math.isnan, aggregate_interval([[1], [2]])))
    assert np.isnan(performance_profile([[1]], [0.0])[1]).all()


def test_the_interval_covers_the_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(100):
        low, high = aggregate_interval(list(rng.normal(size=(3, 12))), resamples=200, seed=seed)
        hits += low <= 0.0 <= high
    assert 85 <= hits <= 99


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match="same tasks"):
        probability_of_improvement([[1.0]], [[1.0], [2.0]])
    with pytest.raises(DataError, match="one or more runs"):
        aggregate_iqm([[1.0], []])
    with pytest.raises(DataError, match="finite"):
        aggregate_iqm([[math.nan]])
    with pytest.raises(ConfigError, match="confidence"):
        aggregate_interval([[0.0, 1.0]], confidence=1.0)
    with pytest.raises(ConfigError, match="resamples"):
        performance_profile([[0.0, 1.0]], [0.0], resamples=0)
