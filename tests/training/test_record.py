"""Steps and updates are two numbers, and one property says which of them a run counts by."""

from __future__ import annotations

from seqel.training.record import Record, next_multiple


def test_an_online_record_counts_in_environment_steps() -> None:
    assert Record(steps=200, seconds=1.0, updates=7).count == 200


def test_a_record_without_an_environment_counts_in_updates() -> None:
    assert Record(steps=0, seconds=1.0, updates=7).count == 7


def test_the_next_multiple_lies_beyond() -> None:
    assert [next_multiple(steps, 10) for steps in (0, 9, 10)] == [10, 10, 20]
