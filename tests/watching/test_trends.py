"""Trends: counts by hour, the day and the week before, intervals, and a ring of fixed size."""

from __future__ import annotations

import numpy as np
import pytest

from seqel.evaluation.statistics import success_interval
from seqel.watching.trends import Trends


def test_a_day_and_the_week_before() -> None:
    some = Trends()
    # the week before: 10 messages, one of them negative; the day: 3 of 4 negative
    hours = np.array([100.2] * 10 + [200.0, 210.9, 220.0, 220.5])
    some.add(["a"] * 14, hours, np.array([0] + [1] * 9 + [0, 0, 2, 0]))
    found = some.of("a")
    assert found.messages == 4 and found.shares == (0.75, 0.0, 0.25) and found.before == 0.1
    assert found.interval == success_interval(3, 4) and found.direction == "up"
    assert found.hours == tuple([0] * 3 + [1] + [0] * 9 + [1] + [0] * 9 + [2])
    assert some.day().sum(axis=0).tolist() == [3, 0, 1]


def test_old_hours_are_cleared() -> None:
    some = Trends()
    some.add(["a", "b"], np.array([10.0, 10.0]), np.array([0, 1]))
    some.add(["a"], np.array([201.0]), np.array([1]))  # 191 hours later: the ring is full
    assert some.of("a").before == 1.0 and some.of("a").messages == 1
    some.add(["a"], np.array([202.0]), np.array([1]))
    assert some.of("a").before is None and some.of("b").messages == 0
    some.add(["a"], np.array([10_000.0]), np.array([2]))
    assert some.of("a").messages == 1 and some.of("a").before is None
    assert some.of("b").direction == "level" and some.of("b").interval == (0.0, 1.0)
    some.add(["a"], np.array([9_000.0]), np.array([0]))  # too old to be kept
    assert some.of("a").messages == 1


def test_the_busiest_and_the_state() -> None:
    some, rng = Trends(), np.random.default_rng(0)
    names = [f"n{place}" for place in range(50) for _ in range(place)]
    some.add(names, np.sort(rng.uniform(1_000.0, 1_020.0, len(names))), rng.integers(3, size=len(names)))
    assert [one.name for one in some.busiest(3)] == ["n49", "n48", "n47"]
    other = Trends()
    other.restore(some.state())
    other.add(["new"], np.array([1_021.0]), np.array([0]))
    assert other.of("n49").shares == some.of("n49").shares and other.of("n49").messages == 49
    assert other.of("new").messages == 1
    with pytest.raises(KeyError):
        some.of("new")
    assert Trends().busiest(3) == [] and Trends().day().sum() == 0
