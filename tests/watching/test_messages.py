"""Messages: what is read, what is refused and why, copies, and clocks that go backwards."""

from __future__ import annotations

import json
from typing import Any

import pytest

from seqel.errors import DataError
from seqel.watching.messages import Filter, Message, parse, when

GOOD = {"time": 1_800_000_000, "company": "Acme", "text": "All is well"}


def line(**changes: Any) -> str:
    return json.dumps(GOOD | changes)


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        (1_800_000_000, 1_800_000_000), (1.5, 1.5), (0, 0), ("1970-01-01T01:00:00Z", 3600), ("1970-01-01 01:00", 3600),
        ("1970-01-01T03:00:00+02:00", 3600), ("1970-01-02", 86_400),
    ],
)  # fmt: skip
def test_times(time: Any, seconds: float) -> None:
    assert parse(line(time=time)).time == seconds / 3600.0


def test_all_members() -> None:
    found = parse(line(company=" 宝洁 ", group="g", topic="t", id=7, likes=3, text="好\x00 \ud800"))
    assert found == Message(500_000.0, "宝洁", "好\x00 ?", "g", "t", "7")
    assert parse(line()) == Message(500_000.0, "Acme", "All is well")
    assert parse(line(text="")).text == ""
    assert when(500_000.0) == "2027-01-15T08:00:00Z"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a JSON object, got ''"), ("[1]", "expected a JSON object"), ("{", "expected a JSON object"),
        ("[" * 100_000, "expected a JSON object"), (line(company=""), "company: expected a name of 1 to 200 characters"),
        (line(company="x" * 201), "company: expected a name"), (line(company=3), "company: expected a text, got 3"),
        (json.dumps({"time": 1, "text": ""}), "company: expected a text, got nothing; the keys are 'time', 'text'"),
        ("{}", "company: expected a text, got nothing; the keys are none"), (line(company=None), "company: .* got nothing$"),
        (line(time=1_796_000_000_000), "got 1796000000000; are these milliseconds"), (line(time=1e17), r"got 1e\+17$"),
        (line(text=None), "text: expected a text, got nothing"), (line(time=None), "time: expected seconds since 1970"),
        (line(time="soon"), "time: expected seconds since 1970 or ISO 8601, got 'soon'"), (line(time=True), "time: expected"),
        (line(time=-1), "time: expected one from 1970 to 9999"), (line(time=1e300), "time: expected one from 1970"),
        ('{"time": NaN, "company": "A", "text": ""}', "time: expected seconds"), (line(id=1.5), "id: expected a text"),
        (line(topic=1), "topic: expected a text, got 1"),
    ],
)  # fmt: skip
def test_what_is_no_message(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse(text)


def test_copies_are_recognised_and_time_never_goes_back() -> None:
    some = Filter(keeps=3)
    first = Message(5.0, "Acme", "a")
    assert some.admit(first) == first and some.admit(first) is None
    assert some.admit(Message(5.0, "Bolt", "a")) is not None and some.admit(Message(5.0, "Acme", "b")) is not None
    late = some.admit(Message(4.0, "Acme", "a"))
    assert late == first and (some.duplicates, some.backwards) == (1, 1)  # taken as of the latest time
    assert some.admit(first) is not None  # three others came since: it is not remembered
    named = Message(6.0, "Acme", "a", id="1")
    assert some.admit(named) == named and some.admit(Message(9.0, "Bolt", "other", id="1")) is None
    again = Filter()
    again.restore(some.state())
    assert again.admit(named) is None and again.now == 6.0 and again.backwards == 1
