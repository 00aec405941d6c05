"""Messages and sentiments per hour, of each company or topic, for the last eight days; and how they change.

RAM is constant per name (a ring buffer of hours), whatever the length of the stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.evaluation.statistics import success_interval

__all__ = ["Trend", "Trends"]

HOURS = 192  # that are kept: a day, and the seven before


@dataclass(frozen=True, slots=True)
class Trend:
    """The last 24 hours of a company or topic, beside the seven days before."""

    name: str
    messages: int
    shares: tuple[float, float, float]  # of negative, neutral and positive messages
    interval: tuple[float, float]  # of the share of negative messages, 95 % (Wilson)
    before: float | None  # that share in the seven days before; None: there were no messages
    hours: tuple[int, ...]  # messages in each of the 24 hours

    @property
    def direction(self) -> str:
        """ "up" or "down" where the earlier share of negative messages lies outside the interval, else "level"."""
        low, high = self.interval
        if self.before is None or low <= self.before <= high:
            return "level"
        return "up" if self.before < low else "down"


class Trends:
    """Counts of sentiments by name and hour."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self._counts = np.zeros((0, HOURS, 3), np.int32)
        self._now = -1  # the latest hour

    def add(self, names: Sequence[str], hours: NDArray[np.float64], sentiments: NDArray[np.int64]) -> None:
        """Add messages in order of time: their names (N), hours since 1970 (N,), and sentiments from 0 (N,)."""
        if not len(names):
            return
        rows = np.array([self.places.setdefault(name, len(self.places)) for name in names])
        if len(self.places) > len(self._counts):
            more = max(len(self._counts), len(self.places) - len(self._counts))
            self._counts = np.concatenate([self._counts, np.zeros((more, HOURS, 3), np.int32)])
        hour = hours.astype(np.int64)
        self._advance(int(hour[-1]))
        recent = hour > self._now - HOURS
        np.add.at(self._counts, (rows[recent], hour[recent] % HOURS, sentiments[recent]), 1)

    def _advance(self, hour: int) -> None:
        """Clear the hours that begin."""
        if self._now >= 0 and hour > self._now:
            new = np.arange(max(self._now + 1, hour - HOURS + 1), hour + 1)
            self._counts[:, new % HOURS] = 0
        self._now = max(self._now, hour)

    def of(self, name: str) -> Trend:
        """Return a name's trend. Raises KeyError if it is not known."""
        counts = self._counts[self.places[name]]
        hours = (self._now - 23 + np.arange(24)) % HOURS
        day = counts[hours].sum(axis=0)
        earlier = counts.sum(axis=0) - day
        total, old = int(day.sum()), int(earlier.sum())
        shares = day / total if total else np.zeros(3)
        interval = success_interval(int(day[0]), total) if total else (0.0, 1.0)
        return Trend(
            name, total, (float(shares[0]), float(shares[1]), float(shares[2])), interval,
            float(earlier[0]) / old if old else None, tuple(int(n) for n in counts[hours].sum(axis=1)),
        )  # fmt: skip

    @property
    def now(self) -> int:
        """The latest hour, since 1970; -1 before the first message."""
        return self._now

    @property
    def active(self) -> int:
        """The number of names with a message in the last 24 hours."""
        hours = (self._now - 23 + np.arange(24)) % HOURS
        return int(np.count_nonzero(self._counts[:, hours].any(axis=(1, 2))))

    def day(self) -> NDArray[np.int64]:
        """Return the messages of the last 24 hours by hour and sentiment, of all names together, (24, 3)."""
        hours = (self._now - 23 + np.arange(24)) % HOURS
        found: NDArray[np.int64] = self._counts[:, hours].sum(axis=0, dtype=np.int64)
        return found

    def busiest(self, most: int) -> list[Trend]:
        """Return the trends of the names with most messages in the last 24 hours."""
        if not self.places:
            return []
        hours = (self._now - 23 + np.arange(24)) % HOURS
        totals = self._counts[:, hours].sum(axis=(1, 2))[: len(self.places)]
        names = list(self.places)
        return [self.of(names[place]) for place in np.argsort(-totals, kind="stable")[:most] if totals[place]]

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs."""
        return {"places": dict(self.places), "counts": self._counts[: len(self.places)], "now": self._now}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.places, self._counts, self._now = dict(state["places"]), state["counts"].copy(), state["now"]
