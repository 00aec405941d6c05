"""Uvicorn's HTTP protocol, which also refuses requests while the service is full, before it makes anything of them.

A refused request that came as a whole costs a look at its head and one write; another one also its parsing by httptools.
Through an ASGI application, it would also cost the request's scope, a task, and the messages of the response, several times
as much (docs/experiments.md, "Service").
"""

from __future__ import annotations

import math
import re
from asyncio import Transport
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from seqel.serving.http.admission import ADMITTED
from seqel.serving.http.gate import Gate

__all__ = ["AdmittingProtocol"]

LENGTH = re.compile(rb"\r\ncontent-length: ?(\d{1,12})(?:\r\n|$)")
REQUEST_ID = re.compile(rb"\r\nx-request-id:([^\r\n]*)", re.IGNORECASE)
SPECIAL = (b"transfer-encoding", b"expect", b"upgrade")  # headers that change how a request is read or answered


class AdmittingProtocol(HttpToolsProtocol):
    """One connection to a service whose application is a `Gate`."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        gate = self.config.app
        assert isinstance(gate, Gate)
        self.admission, self.most = gate.admission, gate.config.body
        self._refused = self._waits = False  # the request that is being read is refused; the end of its body is awaited
        self._between = True  # no part of a request has been read
        self._id = b""  # that its client gave
        self._last = -math.inf  # time of the last refusal without a parser

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        self.admission.connected()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._between and self.admission.full and self._refuse_whole(data):
            return
        super().data_received(data)
        if self._waits and not self.transport.is_closing():  # as long as a connection without requests may last
            self._close_later()

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
        if left > 0.0:  # requests were refused since the timer was set
            self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def _refuse_whole(self, data: bytes) -> bool:
        """Refuse what is one whole POST request with a short body, as far as a look at its head tells. -> whether it is one.

        Whatever is unusual is left to the parser: other methods and versions, two requests or a part of one, several lengths,
        and headers that change how a request is read.
        """
        before: RequestResponseCycle | None = self.cycle
        end = data.find(b"\r\n\r\n")
        if end < 0 or not data.startswith(b"POST /") or not (before is None or before.response_complete):
            return False
        head = data[:end].lower()
        found = LENGTH.search(head)
        if found is None or head.count(b"content-length") > 1 or not head.partition(b"\r\n")[0].endswith(b" http/1.1"):
            return False
        length = int(found[1])
        if length > self.most or len(data) != end + 4 + length or any(one in head for one in SPECIAL):
            return False
        if b"connection" in head and (head.count(b"connection") > 1 or b"\r\nconnection: keep-alive" not in head):
            return False
        given = REQUEST_ID.search(data, 0, end) if b"x-request-id" in head else None
        self._refuse(b"" if given is None else given[1].lstrip(), True)
        self._last = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._close_later()
        return True

    def _refuse(self, request: bytes, keep: bool) -> None:
        self.transport.write(self.admission.refuse(request, keep))
        self.server_state.total_requests += 1
        self.admission.gather(self.loop)

    def _is_short(self) -> bool:
        """Return whether the body is known to be short and is sent without being asked for."""
        self._id = b""
        for name, value in self.headers:
            if name == b"x-request-id":
                self._id = value
            elif name == b"transfer-encoding" or (name == b"content-length" and int(value) > self.most):
                return False
        return not self.expect_100_continue

    def _close_later(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
