"""Calm streams and thresholds: whole episodes in turn, counted rises, and false alarms in streams of other episodes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from seqel.monitoring.bins import indices
from seqel.monitoring.calibration import (
    CONCURRENCY,
    REPLICATES,
    _indices,
    _threshold,
    calm_rows,
    calm_streams,
    distribution_thresholds,
    onsets,
    smallest,
)
from support_monitoring import FAST, SLOW, decisions

LENGTHS = np.array([3, 5, 2, 7])


@pytest.mark.parametrize("sessions", [1, 3])
def test_each_session_plays_whole_episodes(sessions: int) -> None:
    rows = calm_rows(LENGTHS, sessions, 600, np.random.default_rng(0)).reshape(-1, sessions)
    begins = (np.cumsum(LENGTHS) - LENGTHS).tolist()
    ends = (np.cumsum(LENGTHS) - 1).tolist()
    for session in rows.T.tolist():
        for now, then in pairwise(session):
            assert then in begins if now in ends else then == now + 1
    assert set(rows.reshape(-1).tolist()) == set(range(int(LENGTHS.sum())))


def test_streams_begin_in_the_middle_of_episodes_and_every_decision_is_about_equally_frequent() -> None:
    rng = np.random.default_rng(0)
    first = [int(calm_rows(LENGTHS, 1, 1, rng)[0]) for _ in range(3_400)]
    assert np.bincount(first, minlength=17).min() > 130, "200 are expected of each"


def test_a_reference_is_resampled_by_episodes() -> None:
    made = decisions(30).reference()
    found = list(calm_streams(made, 4, 100, replicates=3))
    assert [len(rows) for rows, _ in found] == [100] * 3
    totals = [counts.sum(axis=1) for _, counts in found]
    assert all((total == total[0]).all() for total in totals) and len({total[0] for total in totals}) > 1
    again = list(calm_streams(made, 4, 100, replicates=3))
    assert all((one[1] == other[1]).all() for one, other in zip(found, again, strict=True))


def test_onsets_are_counted_as_by_a_loop() -> None:
    rng = np.random.default_rng(1)
    values, thresholds = rng.exponential(size=(200, 5)), np.linspace(0.1, 4.0, 30)
    expected = []
    for limit in thresholds:
        above = np.concatenate([np.zeros((1, 5), bool), values > limit])
        expected.append((above[1:] & ~above[:-1]).sum())
    assert onsets(values, thresholds).tolist() == expected


def test_the_smallest_threshold_is_calm_from_there_on() -> None:
    assert smallest(np.array([False, True, False, True, True])) == 3
    assert smallest(np.array([True, True])) == 0 and smallest(np.array([True, False])) == 1
    series = [np.array([[0.0], [1.0], [0.0], [2.0], [0.0], [3.0]])]
    assert 2.0 <= _threshold(series, 1)[0] < 3.0 <= _threshold(series, 0)[0]


def test_indices_of_all_windows_are_those_of_their_decisions() -> None:
    made = decisions(20).reference()
    rows, counts = next(calm_streams(made, 2, 400, replicates=1))
    found = list(_indices(made, rows, counts, (40, 200)))
    assert [len(one) for one in found] == [101, 21]
    for values, window in zip(found, (40, 200), strict=True):
        for check in (0, len(values) - 1):
            end = 200 + check * window // 20
            live = made.bins.counts(made.sample[rows[end - window : end]])
            by_hand = indices(live, counts, made.bins.used, made.effective_episodes)
            np.testing.assert_allclose(values[check], by_hand, atol=1e-12)


@pytest.fixture(scope="module")
def thresholds() -> np.ndarray:
    return distribution_thresholds(decisions(100).reference(), 1 / 20_000, (200, 1_000), decisions=100_000)


def test_autocorrelated_features_and_few_sessions_need_higher_thresholds(thresholds: np.ndarray) -> None:
    assert thresholds.shape == (len(CONCURRENCY), 2, 12)
    assert (np.diff(thresholds, axis=0) <= 0).all(), "never lower for fewer sessions"
    one_session = thresholds[0]
    assert (one_session[:, SLOW] > 2 * one_session[:, FAST]).all()
    assert (one_session[0, :4] > one_session[1, :4]).all(), "a longer window needs a lower one"


@pytest.mark.parametrize("sessions", [1, 16])
def test_false_alarms_in_streams_of_other_episodes(thresholds: np.ndarray, sessions: int) -> None:
    """At most three times the rate that the thresholds are made for, in 200,000 autocorrelated decisions."""
    made, live = decisions(100).reference(), decisions(400, seed=1)
    index = made.bins.index(live.rows)
    place, alarms, rounds, length = CONCURRENCY.index(sessions), 0, 4, 50_000
    for number in range(rounds):
        rows = calm_rows(live.lengths, sessions, length, np.random.default_rng(number))
        for window, limit in zip((200, 1_000), thresholds[place], strict=True):
            block = window // 20
            blocks = np.stack([made.bins.counts(one) for one in index[rows].reshape(-1, block, 6)])
            total = np.concatenate([np.zeros((1, *blocks.shape[1:])), np.cumsum(blocks, axis=0)])
            values = indices(total[20:] - total[:-20], made.counts, made.bins.used, made.effective_episodes)
            above = np.concatenate([np.zeros((1, 12), bool), values > np.maximum(limit, 0.02)])
            alarms += int((above[1:] & ~above[:-1]).sum())
    assert alarms <= 3 * rounds * length / 20_000
    assert REPLICATES >= 20
