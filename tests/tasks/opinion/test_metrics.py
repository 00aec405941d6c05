"""Measures of alerts: false alarms in calm streams, thresholds for a budget, and delays."""

from __future__ import annotations

import numpy as np
import pytest

from seqel.errors import ConfigError
from seqel.tasks.opinion.metrics import evaluate_alerts, hours_between_false_alarms, threshold_for
from seqel.tasks.opinion.stream import Setting, Stream, draw_stream


def stream(time: list[float], company: list[int], onset: list[float]) -> Stream:
    count = len(onset)
    return Stream(
        np.array(time), np.array(company), np.zeros(len(time), int), np.array(onset), np.zeros((count, count), bool)
    )


def test_time_between_false_alarms() -> None:
    calm = stream([1.0, 2.0, 3.0, 4.0], [0, 1, 0, 0], [np.inf, np.inf])
    numbers = np.array([0.1, 0.5, 0.9, 0.9])
    # one alert, after 3 of the 10 hours of the first company; the second is calm for 10
    assert hours_between_false_alarms([calm], [numbers], 0.6, 10.0) == 13.0
    assert hours_between_false_alarms([calm], [numbers], 0.4, 10.0) == (3.0 + 2.0) / 2.0
    assert hours_between_false_alarms([calm], [numbers], 0.9, 10.0) == np.inf


def test_a_threshold_keeps_the_budget_and_is_the_smallest_that_does() -> None:
    rng = np.random.default_rng(0)
    calm = [draw_stream(rng, Setting(companies=4), 50.0, onset=np.inf) for _ in range(40)]
    numbers = [rng.normal(size=len(one.time)) for one in calm]
    found = threshold_for(200.0, calm, numbers, 50.0)
    assert hours_between_false_alarms(calm, numbers, found, 50.0) >= 200.0
    smaller = max(one for some in numbers for one in some if one < found)
    assert hours_between_false_alarms(calm, numbers, smaller - 1e-9, 50.0) < 210.0
    assert hours_between_false_alarms(calm, numbers, found - 0.2, 50.0) < 200.0
    short = threshold_for(8.0, calm, numbers, 50.0)  # much shorter than a stream
    assert 8.0 <= hours_between_false_alarms(calm, numbers, short, 50.0) < 8.2
    with pytest.raises(ConfigError, match="needs calm streams of at least 10000 company-hours, got 8000"):
        threshold_for(1_000.0, calm, numbers, 50.0)


def test_delays() -> None:
    some = stream([1.0, 2.0, 5.0, 6.0, 7.0], [0, 0, 0, 1, 1], [4.0, np.inf])
    other = stream([1.0, 9.0], [0, 0], [3.0, 8.0])
    found = evaluate_alerts([some, other], [np.array([0, 1, 1, 1, 0.0]), np.array([0, 0.0])], 0.5, 10.0)
    assert found.delays == [1.0, 7.0, 2.0] and found.missed == 2 and found.before == 2
    assert found.mean == pytest.approx(10.0 / 3.0)
