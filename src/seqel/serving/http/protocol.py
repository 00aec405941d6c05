"""Uvicorn's HTTP protocol, which refuses requests while the service is full and answers plain ones to hot routes itself.

A plain request costs a look at its head and one write; what is unusual also its parsing by httptools. Through an ASGI
application, it would also cost the request's scope, its way through the middleware, and the messages of the response, several
times as much (docs/experiments.md, "Service").
"""

from __future__ import annotations

import asyncio
import math
import time
from asyncio import Transport
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from seqel.serving.http.admission import ADMITTED
from seqel.serving.http.direct import Wanted
from seqel.serving.http.gate import Gate
from seqel.serving.http.heads import Head

__all__ = ["AdmittingProtocol"]

HELD = 65_536  # bytes that are kept for later, at most, before the client must wait
REST = 0.05  # seconds in which the rest of a request must come to be read without the parser


class AdmittingProtocol(HttpToolsProtocol):
    """One connection to a service whose application is a `Gate`."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        gate = self.config.app
        assert isinstance(gate, Gate)
        self.admission, self.direct, self.heads = gate.admission, gate.direct, gate.heads
        self._refused = self._waits = False  # the request that is being read is refused; the end of its body is awaited
        self._between = True  # no part of a request has been read
        self._id = b""  # that its client gave
        self._last = -math.inf  # time of the last answer without a parser
        self._wanted: Wanted | None = None  # a request that is to be answered without the application
        self._task: asyncio.Task[None] | None = None  # answers it
        self._held = bytearray()  # bytes that followed it
        self._part = b""  # of a request whose body is incomplete
        self._rest: asyncio.TimerHandle | None = None  # ends the wait for it
        self._stopping = False  # closes when the request is answered

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        self.admission.connected()
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._held.clear()
        self._take_part()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._wanted is not None or self._held:
            self._hold(data)
            return
        first = self._take_part() if self._part else b""
        data = first + data
        if self._between and self._take_whole(data, last=bool(first)):
            return
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        super().data_received(data)
        if self._waits and not self.transport.is_closing():  # as long as a connection without requests may last
            self._close_later()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._release()

    def shutdown(self) -> None:
        if self._wanted is None:
            super().shutdown()
        else:
            self._stopping = True

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._between = self._refused = self._waits = False

    def on_headers_complete(self) -> None:
        before: RequestResponseCycle | None = self.cycle
        full = self.admission.full
        if self.parser.get_method() != b"POST" or not (before is None or before.response_complete):
            super().on_headers_complete()  # a pipelined request is admitted by the gate
        elif full and self._is_short():
            self._refused = self._waits = True  # answered when its body has been read
        else:
            super().on_headers_complete()
            if full:
                return  # it is refused by the gate
            self.scope[ADMITTED] = True  # type: ignore[literal-required]
            self.admission.enter()

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._between = True
        if not self._refused:
            super().on_message_complete()
            return
        self._waits = False
        keep = self.parser.get_http_version() == "1.1" and self.parser.should_keep_alive()
        self._refuse(self._id, keep)
        if keep:
            self._close_later()
        else:
            self.transport.close()

    def timeout_keep_alive_handler(self) -> None:
        left = self._last + self.timeout_keep_alive - self.loop.time()
        if self._wanted is not None or self._part:
            left = self.timeout_keep_alive
        if left > 0.0:  # requests were answered since the timer was set, or one is
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def _take_whole(self, data: bytes, last: bool = False) -> bool:
        """Refuse what is one plain POST request, or answer it without the application. -> whether that was done.

        Whatever is unusual is left to the parser: see `http/heads.py`. last: nor is the rest of a request waited for.
        """
        before: RequestResponseCycle | None = self.cycle
        if not (before is None or before.response_complete):
            return False
        if self.flow.write_paused:  # the client does not read its answers
            self._hold(data)
            return True
        head = self.heads.read(data)
        if head is None or len(data) > head.total:
            return False
        if len(data) < head.total:
            return not last and self._keep_part(data, head)
        if self.admission.full:
            self._refuse(head.request, True)
            self._answered()
            return True
        found = self.direct.find(head.path)
        if found is None:
            return False
        address = "" if self.client is None else self.client[0]
        self._wanted = Wanted(found, head, data[len(data) - head.length :], address, time.perf_counter())
        self.admission.admit(self)
        return True

    def begin(self) -> bool:
        """Answer the request that waited. -> False: its client has gone."""
        if self._wanted is None or self.transport.is_closing():
            return False
        self._task = self.loop.create_task(self._answer(self._wanted))
        self.tasks.add(self._task)
        return True

    def _keep_part(self, data: bytes, head: Head) -> bool:
        """Wait for the rest of a request, which many clients send apart from its head. -> whether it is short enough."""
        if head.total > HELD:
            return False
        self._part, self._rest = data, self.loop.call_later(REST, self._parse_part)
        return True

    def _parse_part(self) -> None:
        """Leave a request that comes slowly to the parser and the gate, which limit its time."""
        self._parse(self._take_part())

    def _take_part(self) -> bytes:
        data, self._part = self._part, b""
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        return data

    async def _answer(self, wanted: Wanted) -> None:
        try:
            answer = await self.direct.answer(wanted, self.server_state.default_headers, self._keep)
        except BaseException:
            self.transport.close()
            raise
        finally:
            self.tasks.discard(self._task)
            self._wanted = self._task = None
            self.admission.end()
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.transport.write(answer)
        if self._stopping:
            self.transport.close()
        else:
            self._answered()
            self._release()

    def _keep(self) -> bool:
        """Return whether the connection stays open after the answer."""
        return not self._stopping

    def _answered(self) -> None:
        self._last = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._close_later()

    def _hold(self, data: bytes) -> None:
        """Keep what comes behind a request until it is answered."""
        self._held += data
        if len(self._held) > HELD:
            self.flow.pause_reading()

    def _release(self) -> None:
        """Read what was held, unless the client does not read its answers."""
        if self._held and self._wanted is None and not self.flow.write_paused:
            data = bytes(self._held)
            self._held.clear()
            self.flow.resume_reading()
            self.data_received(data)

    def _refuse(self, request: bytes, keep: bool) -> None:
        self.transport.write(self.admission.refuse(request, keep))
        self.server_state.total_requests += 1
        if not self.admission.gathering:
            self.admission.gather(self.loop)

    def _is_short(self) -> bool:
        """Return whether the body is known to be short and is sent without being asked for."""
        self._id = b""
        for name, value in self.headers:
            if name == b"x-request-id":
                self._id = value
            elif name == b"transfer-encoding" or (name == b"content-length" and int(value) > self.heads.most):
                return False
        return not self.expect_100_continue

    def _close_later(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
