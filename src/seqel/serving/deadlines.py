"""Time limits of many futures, with one timer for all. `asyncio.wait_for` makes a task and a timer for each."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ["Deadlines"]


class Deadlines:
    """Fails futures that are not done `seconds` after they were given to `watch`.

    error: makes the exception. All futures belong to one event loop.
    """

    def __init__(self, seconds: float, error: Callable[[], Exception]) -> None:
        self.seconds, self.error = seconds, error
        self._open: deque[tuple[float, asyncio.Future[Any]]] = deque()  # the earliest deadline first
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    def watch(self, future: asyncio.Future[Any]) -> None:
        """Fail a future if it is not done in time."""
        loop = future.get_loop()
        while self._open and self._open[0][1].done():
            self._open.popleft()
        self._open.append((loop.time() + self.seconds, future))
        if self._timer is None:
            self._timer = loop.call_at(self._open[0][0], self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, now = None, loop.time()
        while self._open and (self._open[0][0] <= now or self._open[0][1].done()):
            future = self._open.popleft()[1]
            if not future.done():
                future.set_exception(self.error())
        if self._open:
            self._timer = loop.call_at(self._open[0][0], self._look, loop)
