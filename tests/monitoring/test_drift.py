"""The drift monitor: windows, alarms, and what it reports within how many decisions."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("river")

from seqel.errors import ConfigError, SpaceError
from seqel.monitoring.bins import psi
from seqel.monitoring.calibration import CONCURRENCY, calm_rows
from seqel.monitoring.drift import FLOOR, Drift, DriftMonitor
from support_monitoring import FAST, PERHAPS, SLOW, batches, decisions, quick_calibration

WINDOWS = (400, 2_000)
Rows = NDArray[np.float64]


@pytest.fixture(scope="module")
def built() -> DriftMonitor:
    with quick_calibration():
        return DriftMonitor(decisions(150).reference(), windows=WINDOWS)


@pytest.fixture
def monitor(built: DriftMonitor) -> DriftMonitor:
    return copy.deepcopy(built, {id(built.reference): built.reference})


def stream(count: int, seed: int = 1, sessions: int = 16) -> Rows:
    live = decisions(300, seed=seed)
    return live.rows[calm_rows(live.lengths, sessions, count, np.random.default_rng(seed))].copy()


def read(monitor: DriftMonitor, rows: Rows) -> list[Drift]:
    return [one for batch in batches(rows) for one in monitor.update_rows(batch)]


@pytest.mark.parametrize("sizes", [[16], [1, 7, 60, 3], [1_000]])
def test_the_windows_hold_the_last_decisions(monitor: DriftMonitor, sizes: list[int]) -> None:
    rows, start, turn = stream(5_000), 0, 0
    while start < len(rows):
        size = sizes[turn % len(sizes)]
        monitor.update_rows(rows[start : start + size])
        start, turn = start + size, turn + 1
        bins = monitor.reference.bins
        for place, window in enumerate(WINDOWS):
            if turn % 20 == 0 or start >= len(rows):
                seen = rows[:start]
                expected = bins.counts(bins.index(seen[-window:]))
                np.testing.assert_array_equal(monitor._counts[place].reshape(expected.shape), expected)
    assert monitor.seen == 5_000


def test_the_index_is_that_of_the_shortest_window_at_the_last_check(monitor: DriftMonitor) -> None:
    rows = stream(1_600)
    read(monitor, rows[:384])
    assert all(np.isnan(value) for value in monitor.psi.values()), "the window is not full"
    read(monitor, rows[384:])
    bins, reference = monitor.reference.bins, monitor.reference
    counts = bins.counts(bins.index(rows[-400:]))
    expected = psi(counts, reference.counts, bins.used, reference.effective_episodes)
    np.testing.assert_allclose(list(monitor.psi.values()), expected)
    assert list(monitor.psi) == reference.names


def test_thresholds_have_a_floor_and_are_those_of_the_sessions(monitor: DriftMonitor) -> None:
    assert monitor.thresholds.min() == FLOOR
    for sessions, level in ((1, 1), (3, 1), (4, 4), (40, 16), (64, 64), (500, 64)):
        fresh = copy.deepcopy(monitor, {id(monitor.reference): monitor.reference})
        fresh.update_rows(stream(16), sessions=sessions)
        assert fresh.concurrency == level
    monitor.update_rows(stream(16))
    assert monitor.concurrency == 16, "a batch has one decision per session"
    for row in stream(200):
        monitor.update_rows(row[None])
    assert monitor.concurrency == 1
    assert len(CONCURRENCY) == len(monitor.thresholds)


def more_red(rows: Rows) -> None:
    others = rows[:, 0] != 3
    rows[others & (np.random.default_rng(0).random(len(rows)) < 0.1 / 0.95), 0] = 3


def some_missing(rows: Rows) -> None:
    rows[np.random.default_rng(0).random(len(rows)) < 0.1, FAST] = np.nan


def shifted(feature: int) -> Callable[[Rows], None]:
    def change(rows: Rows) -> None:
        rows[:, feature] += 1.0

    return change


def times_ten(rows: Rows) -> None:
    rows[:, PERHAPS] *= 10.0


@pytest.mark.parametrize(
    ("change", "feature", "within"),
    [
        (shifted(FAST), FAST, 400),
        (shifted(SLOW), SLOW, 2_000),
        (more_red, 0, 1_000),
        (times_ten, PERHAPS, 400),
        (some_missing, FAST, 400),
    ],
    ids=["mean of a fast number", "mean of a slow number", "category", "unit", "missing"],
)
def test_drift_is_reported_soon(
    monitor: DriftMonitor, change: Callable[[Rows], None], feature: int, within: int
) -> None:
    rows = stream(2_400 + within)
    change(rows[2_400:])
    assert read(monitor, rows[:2_400]) == []
    found = [one for one in read(monitor, rows[2_400:]) if one.feature == monitor.reference.names[feature]]
    assert found and monitor.reference.names[feature] in monitor.drifting


def test_calm_streams_have_few_false_alarms(monitor: DriftMonitor) -> None:
    """The rate is one in 10,000, and the expected number in 60,000 therefore at most 6."""
    assert len(read(monitor, stream(60_000, seed=5))) <= 6


def test_an_alarm_is_reported_once_and_ends(monitor: DriftMonitor) -> None:
    rows = stream(9_000)
    rows[3_000:4_000, FAST] += 3.0
    found = [(one.decision, one.window) for one in read(monitor, rows) if one.feature == "seen[1]"]
    assert len(found) == 1 and 3_000 < found[0][0] <= 3_200, "the longer window does not repeat it"
    assert "seen[1]" not in monitor.drifting
    again = stream(3_000, seed=2)
    again[1_000:, FAST] += 3.0
    assert [one for one in read(monitor, again) if one.feature == "seen[1]"], "and may begin again"


def test_messages() -> None:
    one = Drift("age", 0.31, 0.08, 5_000, 1_000, "large")
    assert str(one) == "age: large drift, PSI 0.31 above 0.08 over the last 1,000 decisions"
    assert str(Drift("age", 0.31, 0.08, 5_000, 1_000, "missing values")).startswith("age: missing values, PSI 0.31")
    assert (
        str(Drift("q_max", 2.5, 20.0, 5, 0, "change of mean"))
        == "q_max: its mean has changed (now +2.5 standard deviations)"
    )


def test_observations_are_read_like_rows(monitor: DriftMonitor) -> None:
    other = copy.deepcopy(monitor, {id(monitor.reference): monitor.reference})
    rows = stream(64)
    flat = {"colour": rows[:, :1], "seen": rows[:, 1:4]}
    monitor.update(flat, rows[:, 4], rows[:, 5])
    other.update_rows(rows)
    np.testing.assert_array_equal(monitor._counts, other._counts)
    with pytest.raises(SpaceError, match="lacks 'seen'"):
        monitor.update({"colour": rows[:, :1]}, rows[:, 4], rows[:, 5])
    assert monitor.update_rows(rows[:0]) == []


def test_features_without_values_in_the_reference_raise_no_alarm() -> None:
    given = decisions(40)
    given.rows[:, -1] = np.nan
    with quick_calibration():
        monitor = DriftMonitor(given.reference(), windows=(400,), streams=False)
    assert [one.feature for one in read(monitor, stream(2_000)) if one.feature == "q_max"] == []


def test_the_cost_of_a_decision(monitor: DriftMonitor) -> None:
    """Measured at 5 to 7 microseconds of processor time in batches of 16; the bound is 100."""
    rows = stream(4_000)
    begin = time.process_time()
    read(monitor, rows)
    assert (time.process_time() - begin) / len(rows) < 100e-6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"windows": ()}, "windows"),
        ({"windows": (1_000, 1_500)}, "multiples of the first one"),
        ({"windows": (2_000, 1_000)}, "windows"),
        ({"windows": (30,)}, "itself of 20"),
        ({"false_alarms": 0.0}, "false_alarms: expected a rate"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    built: DriftMonitor, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        DriftMonitor(built.reference, **arguments)  # type: ignore[arg-type]
