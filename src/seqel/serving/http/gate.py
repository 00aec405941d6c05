"""What every request passes first: its id, key, rate and size; and what every answer passes last: metrics and the log.

A plain ASGI application around the other one. The body is read here as a whole, within a limit of bytes and seconds, so that
no handler can be kept waiting by a slow client, and what is refused is refused before anything is parsed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from seqel.monitoring.metrics import ServiceMetrics
from seqel.serving.config import ServiceConfig
from seqel.serving.errors import InvalidRequest, RequestError, TooLarge, TooSlow
from seqel.serving.http.accounting import Accounting
from seqel.serving.http.admission import ADMITTED, Admission, request_id
from seqel.serving.http.answers import error_body, error_headers
from seqel.serving.http.direct import Direct, HotRoute
from seqel.serving.http.heads import Heads
from seqel.serving.http.keys import Keys, Rates
from seqel.serving.http.logs import JsonLog

__all__ = ["CLIENT", "FAILED", "REQUEST_ID", "Gate"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

CLIENT, REQUEST_ID, FAILED = "seqel.client", "seqel.request_id", "seqel.failed"  # in the scope
OPEN = ("/v2/health/", "/metrics", "/openapi.json", "/static/")  # need no key; nor does the page at "/"


class Gate:
    """Wraps an ASGI application.

    hot: routes of the application that the protocol may answer without it, with `direct`.
    """

    def __init__(
        self,
        application: Application,
        config: ServiceConfig,
        keys: Keys,
        metrics: ServiceMetrics,
        log: JsonLog,
        admission: Admission,
        hot: Sequence[HotRoute] = (),
    ) -> None:
        self.application, self.config, self.admission = application, config, admission
        self.accounting = Accounting(keys, Rates(config.rate), metrics, log, admission)
        self.direct, self.heads = Direct(self.accounting, hot, config.timeout), Heads(config.body)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":  # there are none
                await send({"type": "websocket.close", "code": 1000})
                return
            await self.application(scope, receive, send)
            return
        began = time.perf_counter()
        headers = dict(scope["headers"])
        request = scope[REQUEST_ID] = request_id(headers.get(b"x-request-id", b""))
        status, started = 500, False

        async def answer(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request.encode())]
            await send(message)

        fault: Exception | None = None
        try:
            body = await self._admit(scope, headers, receive)
            await self.application(scope, _replayed(body, receive), answer)
        except RequestError as error:
            scope[FAILED] = error
            await _send_error(answer, error, request)
        except Exception as error:  # noqa: BLE001  (the last place that can answer)
            fault = error
            if not started:
                await _send_error(answer, error, request)
        finally:
            if scope.get(ADMITTED):
                self.admission.leave()
            route = getattr(scope.get("route"), "path", None) or "other"
            self.accounting.conclude(
                request, scope["method"], route, scope["path"], scope.get(CLIENT), status, time.perf_counter() - began,
                scope.get(FAILED) or fault,
            )  # fmt: skip

    async def _admit(self, scope: MutableMapping[str, Any], headers: dict[bytes, bytes], receive: Receive) -> bytes:
        """Check the request and return its body. Raises a RequestError."""
        path = scope["path"]
        if path != "/" and not path.startswith(OPEN):
            scope[CLIENT] = self.accounting.identify(headers, (scope.get("client") or ("",))[0])
            if scope["method"] == "POST" and ADMITTED not in scope:
                if self.admission.full:
                    raise self.admission.error()
                scope[ADMITTED] = True
                self.admission.enter()
        return await self._body(headers, receive)

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> bytes:
        length = headers.get(b"content-length", b"0")
        if not length.isdigit():
            raise InvalidRequest("content-length: expected a number")
        if int(length) > self.config.body:
            raise TooLarge(f"body: expected at most {self.config.body} bytes, got {int(length)}")
        if int(length) == 0 and b"transfer-encoding" not in headers:
            return b""
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.config.body_time):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise InvalidRequest("the client went away")
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self.config.body:
                        raise TooLarge(f"body: expected at most {self.config.body} bytes, got more")
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError as error:
            raise TooSlow(f"body: expected it within {self.config.body_time:g} s") from error


async def _send_error(send: Send, error: BaseException, request: str) -> None:
    status, body, retry = error_body(error, request)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += error_headers(status, retry)
    if status in (408, 413):  # the rest of the body is not read
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body that was read already."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
