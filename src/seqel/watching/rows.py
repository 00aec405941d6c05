"""Which companies share a row of the agent's memory, and what the agent observes of their messages.

The agent was trained on streams of a few numbered companies. Here there may be thousands, so each row of the agent's memory
holds at most as many companies as a stream had, all of one group. A company without a group has a row of its own, because
the crises of unrelated companies in the same row would raise its scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.tasks.opinion.monitoring import log_hours
from seqel.watching.messages import Message

__all__ = ["Rows"]

Numbers = NDArray[np.float64]


class Rows:
    """The place of each company, and when it was last written about. Grows with the number of companies.

    width: companies per row, at most.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.places: dict[str, tuple[int, int]] = {}  # company -> (row, number in the row)
        self.before = np.full((0, width), -np.inf)  # hours since 1970 of the last message about each company
        self.alerted = np.full((0, width), -np.inf)  # and of the last alert
        self.last = np.full(0, -np.inf)  # of the last message of each row
        self.alone: set[int] = set()  # rows of companies without a group
        self._open: dict[str, tuple[int, int]] = {}  # group -> the next free place
        self._used = 0

    @property
    def capacity(self) -> int:
        """The number of rows of memory."""
        return len(self.last)

    def places_of(self, messages: Sequence[Message]) -> NDArray[np.int64]:
        """Return the row and the number of each message's company, (N, 2); a new company gets the next place."""
        found = np.empty((len(messages), 2), np.int64)
        for position, message in enumerate(messages):
            place = self.places.get(message.company)
            if place is None:
                place = self.places[message.company] = self._next(message.group)
            found[position] = place
        if self._used > self.capacity:
            self._grow(max(self.capacity + self.capacity // 2, self._used))
        return found

    def _next(self, group: str) -> tuple[int, int]:
        row, number = self._open.get(group, (-1, self.width))
        if number == self.width:
            row, number = self._used, 0
            self._used += 1
        if group:
            self._open[group] = (row, number + 1)
        else:
            self.alone.add(row)
        return row, number

    def _grow(self, capacity: int) -> None:
        new = capacity - self.capacity
        self.before = np.concatenate([self.before, np.full((new, self.width), -np.inf)])
        self.alerted = np.concatenate([self.alerted, np.full((new, self.width), -np.inf)])
        self.last = np.concatenate([self.last, np.full(new, -np.inf)])

    def observe(self, places: NDArray[np.int64], time: Numbers) -> dict[str, NDArray[Any]]:
        """Return what the agent observes beside the texts of messages in rows that differ, and remember their times.

        places (R, 2), time (R,) -> "company" (R,), and "gap", "same", "alerted" (R, 1).
        """
        row, company = places[:, 0], places[:, 1]
        gap = np.where(np.isfinite(self.last[row]), time - self.last[row], 0.0)
        found: dict[str, NDArray[Any]] = {
            "company": company,
            "gap": log_hours(gap)[:, None],
            "same": log_hours(time - self.before[row, company])[:, None],
            "alerted": log_hours(np.full(len(row), np.inf))[:, None],  # never: see `Watcher`
        }
        self.last[row] = self.before[row, company] = time
        return found

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs."""
        return {
            "width": self.width, "places": {name: list(place) for name, place in self.places.items()}, "used": self._used,
            "alone": sorted(self.alone), "open": {name: list(place) for name, place in self._open.items()},
            "before": self.before, "alerted": self.alerted, "last": self.last,
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self.width, self._used, self.alone = state["width"], state["used"], set(state["alone"])
        self.places = {name: (row, number) for name, (row, number) in state["places"].items()}
        self._open = {name: (row, number) for name, (row, number) in state["open"].items()}
        self.before, self.alerted, self.last = (state[name].copy() for name in ("before", "alerted", "last"))
