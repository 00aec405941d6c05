"""The protocol of a full service: whole requests are refused without a parser, as with one, and what is unusual is parsed."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from seqel.serving.backends.torch_agent import TorchBackend
from seqel.serving.http.app import make_app
from seqel.serving.http.gate import Gate
from seqel.serving.http.protocol import AdmittingProtocol
from seqel.serving.running import make_server
from support_serving import make_service

HEAD = b"POST /v1/act HTTP/1.1\r\nhost: x\r\n"
WHOLE = {
    "plain": HEAD + b"content-length: 2\r\n\r\n{}",
    "capitals": HEAD + b"Content-Length: 2\r\nConnection: Keep-Alive\r\n\r\n{}",
    "empty": HEAD + b"content-length: 0\r\n\r\n",
    "with an id": HEAD + b"X-Request-ID:  Mine-1\r\ncontent-length: 2\r\n\r\n{}",
    "with a wrong id": HEAD + b"x-request-id: a b\r\ncontent-length: 2\r\n\r\n{}",
}
PARSED = {
    "another method": b"PUT /v1/act HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}",
    "another version": HEAD.replace(b"1.1", b"1.0") + b"content-length: 2\r\n\r\n{}",
    "half a head": HEAD + b"content-length: 2\r\n",
    "two": 2 * (HEAD + b"content-length: 2\r\n\r\n{}"),
    "two lengths": HEAD + b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}",
    "two different lengths": HEAD + b"content-length: 2\r\nContent-Length: 20\r\n\r\n{}",
    "a length for something else": HEAD + b"x-content-length: 2\r\n\r\n{}",
    "a folded line": HEAD + b"a: b\r\n content-length: 3\r\ncontent-length: 2\r\n\r\n{}",
    "a name with a space": HEAD + b"content-length : 2\r\n\r\n{}",
    "a NUL": HEAD + b"a: \x00\r\ncontent-length: 2\r\n\r\n{}",
    "a line feed in the path": b"POST /v1/act\n HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}",
    "an escape in the path": b"POST /v1/%61ct HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}",
    "a query": b"POST /v1/act?a=b HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}",
    "another host's path": b"POST http://x/v1/act HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}",
    "an address of its own": HEAD + b"X-Forwarded-For: 10.0.0.1\r\ncontent-length: 2\r\n\r\n{}",
    "a length behind a bare line feed": HEAD + b"a: b\ncontent-length: 2\r\n\r\n{}",
    "a length that is none": HEAD + b"content-length: +2\r\n\r\n{}",
    "a length and more": HEAD + b"content-length: 2, 2\r\n\r\n{}",
    "a length without a body": HEAD + b"\r\n",
    "chunks": HEAD + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n{}",
    "to be continued": HEAD + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n{}",
    "an upgrade": HEAD + b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\n{}",
    "an end": HEAD + b"connection: close\r\ncontent-length: 2\r\n\r\n{}",
    "two minds": HEAD + b"connection: keep-alive\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}",
    "too long": HEAD + b"content-length: 2000000\r\n\r\n" + b" " * 2_000_000,
}


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written, self.closed = b"", False

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def get_extra_info(self, name: str) -> Any:
        return None


class Clock:
    """An event loop of which only the time and timers are asked."""

    def __init__(self) -> None:
        self.now, self.timers = 1_000.0, list[tuple[float, Any]]()

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, call: Any, *_: Any) -> Any:
        self.timers.append((self.now + delay, call))
        return SimpleNamespace(cancel=lambda: None)

    def call_soon(self, call: Any, *_: Any) -> None:
        pass


@pytest.fixture
def line(pair: Any) -> tuple[AdmittingProtocol, Wire, Clock]:
    """A connection to a full service."""
    gate = make_app(make_service(TorchBackend(pair.agent, 8)))
    assert isinstance(gate, Gate)
    gate.admission.limit = lambda: 0
    server, wire, clock = make_server(gate, "127.0.0.1", 1), Wire(), Clock()
    server.config.load()
    found = AdmittingProtocol(config=server.config, server_state=server.server_state, app_state={}, _loop=clock)
    found.connection_made(wire)  # type: ignore[arg-type]
    return found, wire, clock


@pytest.mark.parametrize("name", WHOLE)
def test_whole_requests_are_refused_without_a_parser_and_as_with_one(name: str, line: Any) -> None:
    one, wire, _ = line

    def answered(feed: list[bytes]) -> tuple[list[bytes], bytes]:
        wire.written = b""
        for part in feed:
            one.data_received(part)
        _, _, body = wire.written.partition(b"\r\n\r\n")
        request = json.loads(body)["error"]["request"].encode()
        return wire.written.replace(request, b"ID").split(b"\r\n"), request

    data = WHOLE[name]
    assert one._take_whole(data)
    whole, chosen = answered([data])
    parsed, again = answered([data[:20], data[20:]])
    assert whole == parsed and not wire.closed
    assert (chosen == again == b"Mine-1") == (name == "with an id")
    assert one.server_state.total_requests == 3


@pytest.mark.parametrize("name", PARSED)
def test_what_is_unusual_is_left_to_the_parser(name: str, line: Any) -> None:
    one, wire, _ = line
    assert not one._take_whole(PARSED[name])
    assert wire.written == b"" and not one._part


def test_a_part_of_a_request_is_never_taken_for_a_whole_one(line: Any) -> None:
    """A body that looks like a request is a body."""
    one, wire, _ = line
    inner = WHOLE["plain"]
    one.data_received(HEAD + b"content-length: %d\r\n\r\n" % len(inner))
    assert wire.written == b""
    one.data_received(inner)
    assert wire.written.count(b"HTTP/1.1 503") == 1
    one.data_received(inner)
    assert wire.written.count(b"HTTP/1.1 503") == 2


def test_a_connection_that_is_refused_stays_open_as_long_as_it_asks(line: Any) -> None:
    one, wire, clock = line
    one.data_received(WHOLE["plain"])
    ((end, call),) = clock.timers
    assert end == clock.now + 75
    clock.now = end - 5
    one.data_received(WHOLE["plain"])
    assert len(clock.timers) == 1, "timers cost more than refusals"
    clock.now = end
    call()
    assert not wire.closed and clock.timers[1][0] == end - 5 + 75
    clock.now = clock.timers[1][0]
    clock.timers[1][1]()
    assert wire.closed
