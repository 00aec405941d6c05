"""Uvicorn's HTTP protocol, which also refuses requests while the service is full, before it makes anything of them.

A refused request costs its parsing by httptools and one write. Through an ASGI application, it would also cost the request's
scope, a task, and the messages of the response, several times as much (docs/experiments.md, "Service").
"""

from __future__ import annotations

from asyncio import Transport
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from seqel.serving.http.admission import ADMITTED
from seqel.serving.http.gate import Gate

__all__ = ["AdmittingProtocol"]


class AdmittingProtocol(HttpToolsProtocol):
    """One connection to a service whose application is a `Gate`."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        gate = self.config.app
        assert isinstance(gate, Gate)
        self.admission, self.most = gate.admission, gate.config.body
        self._refused = self._waits = False  # the request that is being read is refused; the end of its body is awaited
        self._id = b""  # that its client gave

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        self.admission.connected()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._waits and not self.transport.is_closing():  # as long as a connection without requests may last
            self._close_later()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._refused = self._waits = False

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
        if not self._refused:
            super().on_message_complete()
            return
        self._waits = False
        keep = self.parser.get_http_version() == "1.1" and self.parser.should_keep_alive()
        self.transport.write(self.admission.refuse(self._id, keep))
        self.server_state.total_requests += 1
        self.admission.gather(self.loop)
        if keep:
            self._close_later()
        else:
            self.transport.close()

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
