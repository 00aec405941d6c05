"""Admission: places are taken and given back, and what is refused early is refused as by the application."""

from __future__ import annotations

import asyncio
import io
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient

from seqel.monitoring.metrics import ServiceMetrics
from seqel.serving.backends.base import Inputs
from seqel.serving.backends.torch_agent import TorchBackend
from seqel.serving.http.admission import ARRIVAL, GATHER, Admission, request_id
from seqel.serving.http.app import make_app
from seqel.serving.http.gate import Gate
from seqel.serving.http.logs import JsonLog
from support_serving import make_service, running_server

BODY = json.dumps({"observation": [0.1, 0.2, 0.3]}).encode()
POST = b"POST /v1/act HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n%b\r\n%b"


def post(more: bytes = b"") -> bytes:
    return POST % (len(BODY), more, BODY)


def admission_of(limit: float, stream: io.BytesIO | None = None, retry_after: float = 0.2) -> Admission:
    log = JsonLog(stream or io.BytesIO(), "warning")
    return Admission(lambda: limit, lambda: retry_after, lambda seconds: None, ServiceMetrics(), log)


def read_answer(connection: socket.socket, data: bytes = b"") -> tuple[int, dict[str, str], Any, bytes]:
    """Return status, headers, and JSON of the next answer, and what was read after it."""
    while b"\r\n\r\n" not in data:
        part = connection.recv(65_536)
        assert part, "the connection was closed before the answer"
        data += part
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    length = int(headers["content-length"])
    while len(rest) < length:
        rest += connection.recv(65_536)
    return int(first.split()[1]), headers, json.loads(rest[:length]), rest[length:]


class Waits(TorchBackend):
    """A backend whose batches take as long as `open` is not set."""

    open: threading.Event

    def step(self, slots: NDArray[np.int64], inputs: Inputs) -> NDArray[np.float32]:
        self.open.wait(20)
        return super().step(slots, inputs)


@pytest.fixture
def full(pair: Any) -> Iterator[tuple[int, Gate, Waits]]:
    """A service that may hold 3 requests, and whose batches wait."""
    backend = Waits(pair.agent, 8)
    backend.open = threading.Event()
    service = make_service(backend, batching={"most": 1, "queue": 2})
    gate = make_app(service)
    assert isinstance(gate, Gate)
    with running_server(gate) as port:
        yield port, gate, backend
        backend.open.set()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def until(condition: Any) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_places_are_counted() -> None:
    admission = admission_of(2)
    assert not admission.full
    admission.enter()
    admission.enter()
    assert admission.full
    admission.leave()
    assert not admission.full


class Asks:
    """A request that notes when it begins."""

    def __init__(self, name: str, began: list[str], gone: bool = False) -> None:
        self.name, self.began, self.gone = name, began, gone

    def begin(self) -> bool:
        self.began += [] if self.gone else [self.name]
        return not self.gone


def test_requests_begin_in_their_turn() -> None:
    began: list[str] = []
    admission = admission_of(6)
    admission.room = lambda: 2
    for name in "abcdef":
        assert not admission.full
        admission.admit(Asks(name, began, gone=name in "cd"))
    assert admission.full and began == ["a", "b"]
    admission.enter()  # what the parser reads needs a place, and does not wait
    admission.end()
    assert began == ["a", "b", "e"] and (admission.open, admission.working) == (
        4,
        2,
    )  # the clients of c and d have gone
    admission.leave()
    assert began == ["a", "b", "e"]
    admission.admit(Asks("g", began))
    assert not admission.full and began == ["a", "b", "e"]  # f came before
    for _ in range(4):
        admission.end()
    assert began == ["a", "b", "e", "f", "g"]
    assert (admission.open, admission.working, len(admission.line)) == (0, 0, 0)


def test_the_prepared_answer_is_the_one_of_the_error() -> None:
    admission = admission_of(0, retry_after=2.4)
    head, _, body = admission.refuse(b"my-id", True).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 503 Service Unavailable"
    assert {"content-type: application/json", "retry-after: 2", "x-request-id: my-id"} < set(lines)
    assert f"content-length: {len(body)}" in lines and "connection: close" not in lines
    error = {"type": "Overloaded", "message": str(admission.error()), "request": "my-id"}
    assert json.loads(body) == {"error": error}
    assert b"connection: close\r\n" in admission.refuse(b"", False)
    for wrong in (b"", b"a b", b"a" * 65, b"\xff"):
        body = admission.refuse(wrong, True).partition(b"\r\n\r\n")[2]
        assert len(json.loads(body)["error"]["request"]) == len(request_id(wrong)) == 16


def test_refusals_are_counted_together() -> None:
    stream = io.BytesIO()
    admission = admission_of(0, stream)
    for _ in range(5):
        admission.refuse(b"", True)
    admission.count("TooManyRequests", "too many")
    admission.report()
    text = admission.metrics.render().decode()
    assert 'seqel_refusals_total{reason="Overloaded"} 5.0' in text
    assert 'seqel_refusals_total{reason="TooManyRequests"} 1.0' in text
    assert 'seqel_requests_total{method="POST",route="other",status="503"} 5.0' in text  # the gate counts its own
    assert len(stream.getvalue().splitlines()) == 1


def test_refusals_gather_while_a_batch_is_computed() -> None:
    rests: list[float] = []
    admission = admission_of(0)
    admission.rest = rests.append

    async def body() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(2):
            for _ in range(3):
                admission.gather(loop)
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    asyncio.run(body())
    assert rests == [GATHER] * 2  # once for all that were at hand


def test_refusals_do_not_gather_while_connections_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    admission, now = admission_of(0), [100.0]
    admission.rest = rests.append
    monkeypatch.setattr("seqel.serving.http.admission.time.monotonic", lambda: now[0])
    admission.connected()
    for now[0], expected in ((100.0, 0), (100.0 + 0.9 * ARRIVAL, 0), (100.0 + 1.1 * ARRIVAL, 1)):
        admission._rest()
        assert len(rests) == expected
    admission.connected()
    admission._rest()
    assert len(rests) == 1


def test_connections_are_accepted_at_once_while_requests_are_refused(full: Any) -> None:
    """The event loop accepts one connection per round, so a pause in each round would keep the last client waiting."""
    port, gate, _ = full
    rests: list[float] = []

    def rest(seconds: float) -> None:
        rests.append(seconds)
        time.sleep(seconds)

    gate.admission.limit, gate.admission.rest = (lambda: 0), rest
    clients = []
    for _ in range(100):
        clients.append(connect(port))
        clients[-1].sendall(post())
    assert [read_answer(one)[0] for one in clients] == [503] * 100
    assert len(rests) < 50  # 100 if refusals gathered in each round
    for one in clients:
        one.close()


def test_the_event_of_a_service_is_set_unless_a_batch_is_computed(pair: Any) -> None:
    service = make_service(TorchBackend(pair.agent, 8))
    batcher = service.agent().batcher
    seen: list[bool] = []
    genuine = batcher.computer.compute

    def compute(ready: Any) -> Any:
        seen.append(service.idle.is_set())
        if len(seen) == 2:
            raise RuntimeError("out of memory")
        return genuine(ready)

    batcher.computer.compute = compute  # type: ignore[method-assign]
    with TestClient(make_app(service), raise_server_exceptions=False) as client:
        assert service.idle.is_set()
        for status in (200, 500, 200):
            assert client.post("/v1/act", content=BODY).status_code == status
            assert service.idle.is_set()
    assert seen == [False] * 3


def test_a_full_service_refuses_and_answers_again_on_the_same_connection(full: Any) -> None:
    port, gate, backend = full
    inside = [connect(port) for _ in range(3)]
    for number, one in enumerate(inside):
        one.sendall(post())
        until(lambda number=number: gate.admission.open == number + 1)
    outside = connect(port)
    for chosen in (b"", b"x-request-id: mine\r\n"):
        outside.sendall(post(chosen))
        status, headers, body, rest = read_answer(outside)
        assert (status, rest) == (503, b"") and int(headers["retry-after"]) >= 1
        assert body["error"]["type"] == "Overloaded" and body["error"]["request"] == headers["x-request-id"]
        assert not chosen or headers["x-request-id"] == "mine"
    outside.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n")  # is not refused
    assert read_answer(outside)[0] == 200
    assert gate.admission.open == 3
    backend.open.set()
    assert [read_answer(one)[0] for one in inside] == [200] * 3
    until(lambda: gate.admission.open == 0)
    outside.sendall(post())
    assert read_answer(outside)[0] == 200
    until(lambda: gate.admission.open == 0)
    for one in (*inside, outside):
        one.close()


def test_a_burst_is_refused_by_what_is_open_and_not_by_what_waits(full: Any) -> None:
    port, gate, backend = full
    connections = [connect(port) for _ in range(30)]
    for one in connections:
        one.sendall(post())
    answers = []
    for one in connections:
        one.settimeout(0.2)
        try:
            answers.append(read_answer(one)[0])
        except TimeoutError:
            answers.append(0)
    assert answers.count(503) in (
        27,
        28,
    )  # of 3 that are admitted at once, the queue may take 2; a fourth may come then
    gate.admission.report()
    text = gate.accounting.metrics.render().decode()
    unread = re.search(r'seqel_requests_total{method="POST",route="other",status="503"} ([0-9.]+)', text)
    assert unread is not None and float(unread[1]) in (26.0, 27.0)  # the others, before they were read
    backend.open.set()
    until(lambda: gate.admission.open == 0)
    for one in connections:
        one.close()


@pytest.mark.parametrize("admits", [True, False])
def test_requests_in_parts_and_one_after_another(full: Any, admits: bool) -> None:
    port, gate, backend = full
    backend.open.set()
    if not admits:
        gate.admission.limit = lambda: 0
    status, data = (200, post()) if admits else (503, post())
    with connect(port) as one:
        for parts in (
            (data[:10], data[10:]),
            (data[:-5], data[-5:]),
            tuple(data[at : at + 7] for at in range(0, len(data), 7)),
        ):
            for part in parts:
                one.sendall(part)
                time.sleep(0.01)
            assert read_answer(one)[0] == status
        one.sendall(3 * data)  # pipelined
        rest = b""
        for _ in range(3):
            found, _, _, rest = read_answer(one, rest)
            assert found == status
        one.sendall(post(b"connection: close\r\n"))
        assert read_answer(one)[1]["connection"] == "close"
        assert one.recv(10) == b""
    with connect(port) as one:
        one.sendall(data.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert read_answer(one)[0] == status and one.recv(10) == b""
    for data in (
        b"POST /v1/act HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
        % (len(BODY), BODY),
        post(b"expect: 100-continue\r\n"),
        b"POST /v1/act HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 0\r\n\r\n",
    ):
        with connect(port) as one:
            one.sendall(data)
            seen = one.recv(65_536)
            while b"}" not in seen:
                seen += one.recv(65_536)
            assert b" %d " % (422 if admits and b"upgrade" in data else status) in seen
    until(lambda: gate.admission.open == 0)


def test_a_client_that_goes_away_gives_its_place_back(full: Any) -> None:
    port, gate, _ = full
    one = connect(port)
    one.sendall(POST % (1_000, b"", BODY))  # the rest never comes
    until(lambda: gate.admission.open == 1)
    one.close()
    until(lambda: gate.admission.open == 0)
    one = connect(port)
    one.sendall(b"POST http://[ HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")  # no such address
    assert b" 400 " in one.recv(1_000)
    one.close()
    assert gate.admission.open == 0


def test_without_the_servers_protocol_the_gate_admits(pair: Any) -> None:
    service = make_service(TorchBackend(pair.agent, 8))
    gate = make_app(service)
    assert isinstance(gate, Gate)
    with TestClient(gate) as client:
        assert client.post("/v1/act", content=BODY).status_code == 200
        assert gate.admission.open == 0
        gate.admission.limit = lambda: 0
        found = client.post("/v1/act", content=BODY)
        assert found.status_code == 503 and found.json()["error"]["type"] == "Overloaded"
        assert client.get("/v1/agents").status_code == 200
        assert gate.admission.open == 0
        assert 'seqel_refusals_total{reason="Overloaded"} 1.0' in client.get("/metrics").text
