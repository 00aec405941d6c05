"""Admission: how many requests may be in the service at once, and the cheapest way to refuse the others.

Refusing takes time of the same processor as answering. So a request that cannot be answered in time is refused before it
is parsed, with bytes that were prepared, and refusals are counted here and reported together. Requests count from the
moment that they are admitted, and not only once they wait for a batch: otherwise a burst that arrives while a batch is
computed would be admitted as a whole, parsed, and then refused.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import re
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

import orjson

from seqel.monitoring.metrics import ServiceMetrics
from seqel.serving.errors import Overloaded
from seqel.serving.http.logs import JsonLog

__all__ = ["ADMITTED", "Admission", "Waiting", "request_id"]

ADMITTED = "seqel.admitted"  # in the scope: the request has a place that must be given back
ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
GATHER = 0.01  # seconds
ARRIVAL = 0.05  # seconds after a connection was accepted in which others may be waiting to be
REPORT = 1.0  # seconds between two reports of refusals, at least
MESSAGE = "more requests are open than can be answered in time"
OVERLOADED = Overloaded.__name__
MARK = "0" * 16  # stands for the id of the request in the prepared answer


IDS = itertools.count(secrets.randbits(60))  # cheaper than random ones, and never secret


def request_id(given: bytes) -> str:
    """Return the id that the client chose, if it is a short plain text, and otherwise one of our own."""
    return given.decode() if given and ID.fullmatch(given) else f"{next(IDS):016x}"


class Waiting(Protocol):
    """A request that waits in line."""

    def begin(self) -> bool:
        """Begin to answer it. -> whether that is still wanted."""
        ...


class Admission:
    """Admits POST requests while fewer than `limit()` are open.

    Of those to hot routes, as many as `room()` returns are in work. The others wait in line as the bytes that came, first
    come first served: with 1,200 requests in work, each took a fifth more of the processor's time than with 64
    (docs/experiments.md, "Service").

    retry_after: returns the seconds after which a refused client should ask again. rest: waits so many seconds, or until no
    batch is computed.
    """

    def __init__(
        self,
        limit: Callable[[], float],
        retry_after: Callable[[], float],
        rest: Callable[[float], object],
        metrics: ServiceMetrics,
        log: JsonLog,
        room: Callable[[], float] = lambda: math.inf,
    ) -> None:
        self.limit, self.retry_after, self.rest, self.metrics, self.log = limit, retry_after, rest, metrics, log
        self.room, self.line, self.working = room, deque[Waiting](), 0  # of hot routes: those in line, those in work
        self.open, self.gathering = 0, False
        self._connected = -ARRIVAL  # when a connection was accepted last
        self._unreported: dict[str, int] = {}  # refusals by reason
        self._early, self._reported = 0, 0.0  # refused before the gate; when the last report was
        # of an answer: its head; its head for an id of our own, up to that; its body before and after the request's id
        self._answer: tuple[bytes, bytes, bytes, bytes] | None = None

    @property
    def full(self) -> bool:
        """Whether the next request is refused."""
        return self.open >= self.limit()

    def enter(self) -> None:
        """Take a place."""
        self.open += 1

    def leave(self) -> None:
        """Give a place back."""
        self.open -= 1

    def admit(self, request: Waiting) -> None:
        """Take a place for a request to a hot route, and let it begin now or in its turn."""
        self.open += 1
        if self.line or self.working >= self.room():
            self.line.append(request)
        else:
            self._begin(request)

    def end(self) -> None:
        """Give back the place of a request that began, and let the first in line begin."""
        self.open -= 1
        self.working -= 1
        while self.line and self.working < self.room():
            self._begin(self.line.popleft())

    def _begin(self, request: Waiting) -> None:
        if request.begin():
            self.working += 1
        else:
            self.open -= 1

    def connected(self) -> None:
        """Note that a connection was accepted."""
        self._connected = time.monotonic()

    def gather(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let refusals gather: after those that are at hand, handle no request for `GATHER` seconds or until a batch is done.

        Each time that the event loop interrupts a batch, both threads lose the processor's caches, which costs more than a
        refusal. So under overload, it does so rarely, and refuses many requests each time. But it does not pause while
        connections arrive: libuv accepts one per round of the event loop, so with pauses the last of 500 would wait for 5 s.
        """
        if not self.gathering:
            self.gathering = True
            loop.call_soon(self._rest)

    def _rest(self) -> None:
        self.gathering = False
        if time.monotonic() - self._connected >= ARRIVAL:
            self.rest(GATHER)

    def error(self) -> Overloaded:
        """Return why a request is refused, as an error."""
        return Overloaded(MESSAGE, retry_after=self.retry_after())

    def refuse(self, request: bytes, keep_alive: bool) -> bytes:
        """Return a whole HTTP response that refuses a request, and count it.

        request: the id that its client gave, or b"".
        """
        now = time.monotonic()
        if self._answer is None or now - self._reported >= REPORT:
            self._answer = self._prepare()
        self._early += 1
        self._unreported[OVERLOADED] = self._unreported.get(OVERLOADED, 0) + 1
        if now - self._reported >= REPORT:
            self.report(MESSAGE)
        start, plain, middle, end = self._answer
        if keep_alive and not request:  # then the length is known
            one = b"%016x" % next(IDS)
            return b"".join((plain, one, b"\r\n\r\n", middle, one, end))
        one = request if ID.fullmatch(request) else b"%016x" % next(IDS)
        length, close = len(middle) + len(one) + len(end), b"" if keep_alive else b"connection: close\r\n"
        head = b"%bcontent-length: %d\r\n%bx-request-id: " % (start, length, close)
        return b"".join((head, one, b"\r\n\r\n", middle, one, end))

    def count(self, reason: str, message: str) -> None:
        """Count a refusal. They are reported once per second at most, together."""
        self._unreported[reason] = self._unreported.get(reason, 0) + 1
        if time.monotonic() - self._reported >= REPORT:
            self.report(message)

    def report(self, message: str = "") -> None:
        """Add the refusals that were not reported yet to the metrics, and log how many they were."""
        refused, self._unreported = self._unreported, {}
        early, self._early = self._early, 0
        self._reported = time.monotonic()
        for reason, number in refused.items():
            self.metrics.refused(reason, number)
        if early:
            self.metrics.unread("POST", 503, early)
        if refused and message:
            self.log.write("warning", "refused", requests=sum(refused.values()), last=message)

    def _prepare(self) -> tuple[bytes, bytes, bytes, bytes]:
        error = self.error()
        body = orjson.dumps({"error": {"type": OVERLOADED, "message": str(error), "request": MARK}})
        middle, end = body.split(MARK.encode())
        seconds = max(1, round(error.retry_after or 1.0))
        start = f"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: {seconds}\r\n"
        return start.encode(), f"{start}content-length: {len(body)}\r\nx-request-id: ".encode(), middle, end
