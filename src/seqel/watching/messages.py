"""A line of JSON as a message about a company; duplicate messages, and clocks that run backwards."""

from __future__ import annotations

import hashlib
import json
import math
from collections import OrderedDict
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from seqel.errors import DataError

__all__ = ["Filter", "Message", "parse", "when"]

LONGEST_NAME = 200  # characters of a company's name
EARLIEST, LATEST = 0.0, 253_402_300_799.0  # of the years 1970 to 9999, in seconds


@dataclass(frozen=True, slots=True)
class Message:
    """A text about a company, with its time."""

    time: float  # hours since 1970
    company: str
    text: str
    group: str = ""  # of related companies; "": not known
    topic: str = ""
    id: str = ""  # by which a copy is recognised; "": by time, company and text


def parse(line: str) -> Message:
    """Read a message: {"time": seconds since 1970 or ISO 8601, "company": a name, "text": ...}, and "group", "topic", "id".

    A time without a zone is in UTC. Other keys are ignored.

    Raises DataError if it is not one; says what was expected.
    """
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"expected a JSON object, got {line!r:.80}: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"expected a JSON object, got {line!r:.80}")
    company = _text(found, "company")
    if not company.strip() or len(company) > LONGEST_NAME:
        raise DataError(f"company: expected a name of 1 to {LONGEST_NAME} characters, got {company!r:.80}")
    text, group, topic = _text(found, "text"), _text(found, "group", ""), _text(found, "topic", "")
    name = found.get("id", "")
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise DataError(f"id: expected a text or an integer, got {name!r:.80}")
    return Message(_hours(found.get("time")), company.strip(), text, group, topic, str(name))


def _text(found: dict[str, Any], name: str, default: str | None = None) -> str:
    value = found.get(name, default)
    if name not in found and default is None:
        keys = ", ".join(map(repr, found)) or "none"
        raise DataError(f"{name}: expected a text, got nothing; the keys are {keys:.200}")
    if not isinstance(value, str):
        raise DataError(f"{name}: expected a text, got {'nothing' if value is None else repr(value)[:80]}")
    return value.encode("utf-8", "replace").decode()  # a lone surrogate, which no file can hold


def _hours(value: Any) -> float:
    seconds = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError as error:
            raise DataError(f"time: expected seconds since 1970 or ISO 8601, got {value!r:.80}") from error
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        got = "nothing" if value is None else repr(value)[:80]
        raise DataError(f"time: expected seconds since 1970 or ISO 8601, got {got}")
    if not EARLIEST <= seconds <= LATEST:
        in_milliseconds = not isinstance(value, str) and LATEST < seconds <= 1000.0 * LATEST
        more = "; are these milliseconds? Divide by 1,000" if in_milliseconds else ""
        raise DataError(f"time: expected one from 1970 to 9999, got {value!r:.80}{more}")
    return float(seconds) / 3600.0


def when(hours: float) -> str:
    """Return a time in hours since 1970 as ISO 8601, in UTC, to the second."""
    return datetime.fromtimestamp(round(hours * 3600.0), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Filter:
    """Detects duplicate messages, and keeps time from running backwards.

    The last `keeps` messages are remembered. Messages are read in the order in which they arrive; one that is older than its
    predecessor gets the predecessor's time.
    """

    def __init__(self, keeps: int = 100_000) -> None:
        self.keeps = keeps
        self.now = -math.inf  # hours since 1970
        self.duplicates = self.backwards = 0
        self._seen: OrderedDict[int, None] = OrderedDict()

    def admit(self, message: Message) -> Message | None:
        """Return a message with its time corrected, or None if it is a duplicate."""
        name = message.id or f"{message.time!r}\n{message.company}\n{message.text}"
        key = int.from_bytes(hashlib.blake2b(f"{bool(message.id)}{name}".encode(), digest_size=8).digest())
        if key in self._seen:
            self.duplicates += 1
            return None
        self._seen[key] = None
        if len(self._seen) > self.keeps:
            self._seen.popitem(last=False)
        if message.time < self.now:
            self.backwards += 1
            return replace(message, time=self.now)
        self.now = message.time
        return message

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs."""
        return {
            "now": self.now, "duplicates": self.duplicates, "backwards": self.backwards,
            "seen": np.fromiter(self._seen, np.uint64, len(self._seen)),
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.now, self.duplicates, self.backwards = state["now"], state["duplicates"], state["backwards"]
        self._seen = OrderedDict.fromkeys(state["seen"].tolist())
