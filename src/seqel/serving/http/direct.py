"""The requests that a service gets most, which the protocol answers without ASGI: steps, feedback, inference, new sessions.

Uvicorn's cycle, FastAPI and its middleware take more of the processor's time than the decision of a small agent
(docs/experiments.md, "Service"). The application has the same routes with the same handlers: whatever is not one plain
request (`http/heads.py`) takes that way, and gets the same answer.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from seqel.serving.errors import TimedOut
from seqel.serving.http.admission import request_id
from seqel.serving.http.answers import error_body, error_headers

if TYPE_CHECKING:
    from seqel.serving.http.accounting import Accounting
    from seqel.serving.http.heads import Head

__all__ = ["Direct", "Found", "HotRoute", "Wanted"]

Handler = Callable[..., Awaitable[bytes]]  # body, client, parameters of the path -> JSON


class HotRoute(NamedTuple):
    """A POST route: its template, its handler, and the status of its answers."""

    template: str
    handler: Handler
    status: int = 200


class Found(NamedTuple):
    """The route of a request, and the parameters of its path."""

    route: HotRoute
    parameters: tuple[str, ...]


class Wanted(NamedTuple):
    """A request to a hot route."""

    found: Found
    head: Head
    body: bytes
    address: str  # of the client, by which its rate is known
    came: float  # when, in the time of `perf_counter`


class Direct:
    """Answers requests to hot routes as the application behind a `Gate` does.

    timeout: seconds after which a request that waited in line is no longer begun.
    """

    def __init__(self, accounting: Accounting, routes: Sequence[HotRoute], timeout: float) -> None:
        self.accounting, self.timeout = accounting, timeout
        self._routes = [(re.compile(re.sub(r"\{\w+\}", "([^/]+)", one.template).encode()), one) for one in routes]

    def find(self, path: bytes) -> Found | None:
        """Return the hot route of a path without escapes; None: it is another one's."""
        for pattern, route in self._routes:
            if (match := pattern.fullmatch(path)) is not None:
                return Found(route, tuple(one.decode() for one in match.groups()))
        return None

    async def answer(self, wanted: Wanted, default: Sequence[tuple[bytes, bytes]], keep: Callable[[], bool]) -> bytes:
        """Return the whole response.

        default: headers of every response. keep: returns whether the connection stays open.
        """
        (route, parameters), head, body, address, came = wanted
        accounting = self.accounting
        request, client, failed = request_id(head.request), None, None
        status, headers = route.status, default
        try:
            if time.perf_counter() - came > self.timeout:
                raise TimedOut(f"no answer within {self.timeout:g} s: too many requests were open")
            client = accounting.identify(head.headers, address)
            answer = await route.handler(body, client, *parameters)
        except Exception as error:  # noqa: BLE001  (the last place that can answer)
            failed = error
            status, answer, retry = error_body(error, request)
            headers = [*default, *error_headers(status, retry)]
        seconds = time.perf_counter() - came
        accounting.conclude(request, "POST", route.template, head.path.decode(), client, status, seconds, failed)
        if not keep():
            headers = [*headers, (b"connection", b"close")]
        lines = b"".join([b"%b: %b\r\n" % one for one in headers])
        return (
            b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\ncontent-type: application/json\r\nx-request-id: %b\r\n\r\n%b"
            % (
                STATUS[status],
                lines,
                len(answer),
                request.encode(),
                answer,
            )
        )


STATUS = {one.value: f"{one.value} {one.phrase}".encode() for one in HTTPStatus}
