"""Hot requests are answered without the application, and as by it; what comes meanwhile, slowly, or too late is not lost."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from seqel.serving.backends.base import Inputs
from seqel.serving.backends.torch_agent import TorchBackend
from seqel.serving.http.app import make_app
from seqel.serving.http.gate import Gate
from seqel.serving.http.keys import Keys
from seqel.serving.http.logs import JsonLog
from seqel.serving.http.protocol import HELD, REST
from support_serving import expected, histories, make_service, running_server

ANNA = "anna-0123456789abcdef"
SEEN = {"observation": [0.1, 0.2, 0.3]}
INPUTS = [{"name": "observation", "shape": [1, 3], "datatype": "FP32", "data": [0.1, 0.2, 0.3]}]
ACT = "/v1/sessions/one/act"
OTHER_WAY = "transfer-encoding: chunked"  # a request that the application must read
PLACES = ("date", "content-length", "x-request-id")  # headers whose values may differ


class Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.file = self.socket.makefile("rb")

    def send(self, path: str, given: Any, *headers: str) -> None:
        body = given if isinstance(given, bytes) else json.dumps(given).encode()
        if OTHER_WAY in headers:
            body, length = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n", ""
        else:
            length = f"content-length: {len(body)}\r\n"
        lines = "".join(f"{one}\r\n" for one in headers)
        self.socket.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\n{lines}{length}\r\n".encode() + body)

    def read(self) -> tuple[int, dict[str, str], Any]:
        status = int(self.file.readline().split()[1])
        headers = {}
        while line := self.file.readline().rstrip():
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        return status, headers, json.loads(self.file.read(int(headers["content-length"])))

    def post(self, path: str, given: Any, *headers: str) -> tuple[int, dict[str, str], Any]:
        self.send(path, given, *headers)
        return self.read()

    def close(self) -> None:
        self.file.close()
        self.socket.close()


class Waits(TorchBackend):
    """A backend whose batches take as long as `open` is not set."""

    open: threading.Event

    def step(self, slots: NDArray[np.int64], inputs: Inputs) -> NDArray[np.float32]:
        self.open.wait(20)
        return super().step(slots, inputs)


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def acting(port: int, gate: Gate) -> Client:
    """Return a client whose session has its first step in work."""
    client = Client(port)
    assert client.post("/v1/sessions", {"session": "one"})[0] == 201
    client.send(ACT, SEEN)
    until(lambda: gate.admission.open == 1)
    return client


def gate_of(backend: Any, log: io.BytesIO | None = None, keys: Keys | None = None, **settings: Any) -> Gate:
    service = make_service(backend, **settings)
    gate = make_app(service, name="maze", keys=keys, log=JsonLog(log or io.BytesIO(), "info"))
    assert isinstance(gate, Gate)
    return gate


def answered(gate: Gate) -> list[str]:
    """Note the routes that are answered without the application, from now on."""
    found: list[str] = []
    genuine = gate.direct.answer

    def answer(route: Any, *more: Any) -> Any:
        found.append(route.found.route.template)
        return genuine(route, *more)

    gate.direct.answer = answer  # type: ignore[assignment, method-assign]
    return found


@pytest.fixture
def waiting(pair: Any) -> Iterator[tuple[int, Gate, Waits]]:
    backend = Waits(pair.agent, 8)
    backend.open = threading.Event()
    gate = gate_of(backend)
    with running_server(gate) as port:
        yield port, gate, backend
        backend.open.set()


def test_answers_are_those_of_the_application(pair: Any) -> None:
    """The same requests take both ways, and status, headers, body, metrics and log are the same."""
    requests: list[tuple[str, Any]] = [
        ("/v1/sessions", {"session": "one"}), (ACT, SEEN), (ACT, SEEN | {"step": 1, "reward": 0.5}),
        (ACT, SEEN | {"step": 7}), (ACT, {"observation": [1.0]}), (ACT, b"{"), (ACT, b"[1]"), (ACT, SEEN | {"mask": [1]}),
        ("/v1/sessions/two/act", SEEN), ("/v1/sessions/one/feedback", {"step": 1, "reward": 2.0}),
        ("/v1/sessions/one/feedback", {"step": 1}), ("/v1/sessions/two/feedback", {"step": 1, "reward": 2.0}),
        ("/v1/act", SEEN | {"history": [SEEN | {"action": 1, "reward": 0.5}]}), ("/v1/act", SEEN | {"agent": "b"}),
        ("/v1/sessions", b""), ("/v1/sessions", {"session": "a b"}), ("/v2/models/maze/infer", {"inputs": INPUTS}),
        ("/v2/models/maze/infer", {"inputs": INPUTS, "id": "7", "parameters": {"sequence_id": "s", "sequence_start": True}}),
        ("/v2/models/labyrinth/infer", {"inputs": INPUTS}), ("/v2/models/maze/infer", {"inputs": []}),
    ]  # fmt: skip
    found = []
    for way in ((), (OTHER_WAY,)):
        log = io.BytesIO()
        gate = gate_of(TorchBackend(pair.agent, 8), log)
        direct = answered(gate)
        with running_server(gate) as port:
            client = Client(port)
            answers = [client.post(path, given, *way) for path, given in requests]
            client.close()
        assert len(direct) == (0 if way else len(requests))
        lines = [json.loads(line) for line in log.getvalue().splitlines() if b'"request"' in line]
        text = gate.accounting.metrics.render().decode()
        counts = sorted(re.findall(r"^seqel_requests_total\{.*", text, re.MULTILINE))
        found.append((answers, lines, counts))
    for (status, headers, body), (status_2, headers_2, body_2) in zip(found[0][0], found[1][0], strict=True):
        assert status == status_2
        assert headers.keys() == headers_2.keys()
        assert all(headers[one] == headers_2[one] for one in headers if one not in PLACES)
        for one in (body, body_2):
            if "error" in one:
                assert one["error"].pop("request")
            if len(one.get("session", "")) == 22:
                one["session"] = "random"
        assert body == body_2
    for line, line_2 in zip(found[0][1], found[1][1], strict=True):
        for name in ("time", "request", "ms"):
            assert line.pop(name) and line_2.pop(name)
        assert line == line_2
    assert found[0][2] == found[1][2] and len(found[0][2]) > 10
    assert {answer[0] for answer in found[0][0]} == {200, 201, 404, 409, 422}


def test_sessions_decide_as_an_agent_that_is_never_interrupted(pair: Any) -> None:
    """Bit for bit, by both ways in turn."""
    seen, rewards = histories(4, 6)
    alone = [expected(pair.agent, seen[row : row + 1], rewards[row : row + 1]) for row in range(4)]
    with running_server(gate_of(TorchBackend(pair.agent, 8))) as port:
        client = Client(port)
        for session in range(4):
            assert client.post("/v1/sessions", {"session": str(session)})[0] == 201
        for step in range(6):
            for session in range(4):
                given = {"observation": seen[session, step].tolist(), "reward": float(rewards[session, step])}
                way = (OTHER_WAY,) if (step + session) % 3 == 0 else ()
                status, _, body = client.post(f"/v1/sessions/{session}/act", given, *way)
                assert status == 200 and body["action"] == alone[session][0][0, step]
                assert np.array_equal(np.float32(body["scores"]), alone[session][1][0, step])
        client.close()


def test_keys_and_rates_hold(pair: Any, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"anna {ANNA}\n")
    gate = gate_of(TorchBackend(pair.agent, 8), keys=Keys(tmp_path / "keys"), rate=3.0)
    direct = answered(gate)
    with running_server(gate) as port:
        client = Client(port)
        status, headers, _ = client.post("/v1/act", SEEN)
        assert status == 401 and headers["www-authenticate"] == "Bearer"
        assert client.post("/v1/act", SEEN, "x-api-key: wrong-0123456789abcdef")[0] == 401
        statuses = [client.post("/v1/act", SEEN, f"Authorization: Bearer {ANNA}") for _ in range(5)]
        assert [one[0] for one in statuses][:3] == [200] * 3 and statuses[-1][0] == 429
        assert int(statuses[-1][1]["retry-after"]) >= 1
        client.close()
    assert len(direct) == 7
    assert 'seqel_refusals_total{reason="TooManyRequests"}' in gate.accounting.metrics.render().decode()


def test_a_fault_is_named_by_its_id_alone(pair: Any) -> None:
    class Fails(TorchBackend):
        def step(self, slots: NDArray[np.int64], inputs: Inputs) -> NDArray[np.float32]:
            raise RuntimeError("the secret cause")

    log = io.BytesIO()
    with running_server(gate_of(Fails(pair.agent, 8), log)) as port:
        client = Client(port)
        status, headers, body = client.post("/v1/act", SEEN, "x-request-id: mine")
        assert status == 500 and headers["x-request-id"] == body["error"]["request"] == "mine"
        assert "secret" not in json.dumps(body)
        assert client.post("/v1/act", SEEN)[0] == 500  # on the same connection
        client.close()
    faults = [json.loads(line) for line in log.getvalue().splitlines() if b'"fault"' in line]
    assert [one["error"] for one in faults] == ["RuntimeError: the secret cause"] * 2 and faults[0]["request"] == "mine"


def test_requests_behind_one_that_is_answered_are_answered_in_order(waiting: Any) -> None:
    port, gate, backend = waiting
    client = acting(port, gate)
    client.send(ACT, SEEN | {"reward": 0.5})
    client.socket.sendall(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n")
    client.send(ACT, SEEN | {"reward": 0.5})
    time.sleep(0.05)
    assert gate.admission.open == 1
    backend.open.set()
    assert [client.read()[2].get("step", "live") for _ in range(4)] == [0, 1, "live", 2]
    client.close()


def test_no_more_is_held_than_a_bound(waiting: Any) -> None:
    port, gate, backend = waiting
    client = Client(port)
    client.send("/v1/act", SEEN)
    until(lambda: gate.admission.open == 1)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    client.socket.settimeout(0.5)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < 1 << 27:
            sent += client.socket.send(b"POST /v1/act HTTP/1.1\r\n" * 1_000)
    assert HELD < sent < 1 << 27
    client.close()
    backend.open.set()
    until(lambda: gate.admission.open == 0)


def test_health_and_metrics_do_not_wait_for_steps(waiting: Any) -> None:
    port, gate, backend = waiting
    steps = [Client(port) for _ in range(6)]
    for one in steps:
        one.send("/v1/act", SEEN)
    until(lambda: gate.admission.open == 6)
    client = Client(port)
    for path in ("/v2/health/live", "/v2/health/ready", "/v1/agents"):
        began = time.monotonic()
        client.socket.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        assert client.read()[0] == 200 and time.monotonic() - began < 2.0
    backend.open.set()
    assert [one.read()[0] for one in steps] == [200] * 6
    for one in (*steps, client):
        one.close()


def test_a_client_that_leaves_gives_its_place_back_and_its_step_is_taken(waiting: Any) -> None:
    port, gate, backend = waiting
    acting(port, gate).close()
    other = Client(port)
    other.send(ACT, SEEN | {"step": 0})
    until(lambda: gate.admission.open == 2)
    backend.open.set()
    status, _, body = other.read()
    assert status == 200 and body["step"] == 0  # the same answer, as the step is taken once
    until(lambda: gate.admission.open == 0)
    assert other.post(ACT, SEEN | {"step": 1})[0] == 200
    other.close()


def test_a_body_may_come_apart_from_its_head(pair: Any) -> None:
    gate = gate_of(TorchBackend(pair.agent, 8))
    direct = answered(gate)
    body = json.dumps(SEEN).encode()
    head = b"POST /v1/act HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    with running_server(gate) as port:
        client = Client(port)
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for rest in (body, body + head + body):
            client.socket.sendall(head)
            time.sleep(0.2 * REST)
            client.socket.sendall(rest)
            for _ in range(rest.count(b"observation")):
                assert client.read()[0] == 200
        assert len(direct) == 1  # two requests at once are the parser's
        client.socket.sendall(head)
        time.sleep(4 * REST)  # nor is the rest waited for any longer
        client.socket.sendall(body)
        assert client.read()[0] == 200 and len(direct) == 1
        client.close()


def test_a_body_in_many_parts_has_no_more_time_than_another(pair: Any) -> None:
    gate = gate_of(TorchBackend(pair.agent, 8), body_time=0.3)
    with running_server(gate) as port:
        client = Client(port)
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.monotonic()
        client.socket.sendall(b"POST /v1/act HTTP/1.1\r\nhost: x\r\ncontent-length: 10000\r\n\r\n")
        try:
            for _ in range(200):
                client.socket.sendall(b" ")
                time.sleep(0.5 * REST)
        except OSError:  # the service has had enough
            pass
        assert time.monotonic() - began < 3.0
        assert client.read()[0] == 408
        client.close()
        until(lambda: gate.admission.open == 0)


# -- the line ------------------------------------------------------------------------------------------------------------

IN_WORK, OPEN = 4, 21  # of a service that computes one step at a time, and lets 20 wait


def line_of(pair: Any, **settings: Any) -> tuple[Gate, Waits, list[str]]:
    """Return an application, its backend, and the sessions in the order in which they are computed."""
    backend = Waits(pair.agent, 30)
    backend.open = threading.Event()
    service = make_service(backend, batching={"most": 1, "queue": OPEN - 1}, **settings)
    computer, computed = service.agent().batcher.computer, list[str]()
    genuine = computer.compute

    def compute(ready: Any) -> Any:
        computed.extend((one.step.session or "/")[1:] for one in ready)
        return genuine(ready)

    computer.compute = compute  # type: ignore[method-assign]
    gate = make_app(service)
    assert isinstance(gate, Gate)
    return gate, backend, computed


def _has(gate: Gate, number: int) -> bool:
    return gate.admission.open == number


def ask(port: int, gate: Gate, number: int) -> list[Client]:
    """Open sessions, and ask for a step of each in turn; return the connections when all requests have arrived."""
    clients = [Client(port) for _ in range(number)]
    for session, one in enumerate(clients):
        assert one.post("/v1/sessions", {"session": str(session)})[0] == 201
    for session, one in enumerate(clients):
        one.send(f"/v1/sessions/{session}/act", SEEN)
        until(functools.partial(_has, gate, session + 1))
    return clients


def test_requests_wait_in_line_up_to_a_bound_and_are_answered_in_order(pair: Any) -> None:
    gate, backend, computed = line_of(pair)
    with running_server(gate) as port:
        clients = ask(port, gate, OPEN)
        assert (gate.admission.working, len(gate.admission.line)) == (IN_WORK, OPEN - IN_WORK)
        other = Client(port)
        for way in ((), (OTHER_WAY,)):
            status, headers, body = other.post("/v1/act", SEEN, *way)
            assert status == 503 and body["error"]["type"] == "Overloaded" and int(headers["retry-after"]) >= 1
        began = time.monotonic()
        other.socket.sendall(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert re.search(rb"seqel_queue_length (\d+)", other.file.read())[1] == b"%d" % (OPEN - 1)  # type: ignore[index]
        assert time.monotonic() - began < 2.0
        clients.pop(IN_WORK + 3).close()  # leaves the line
        clients.pop(1).close()  # its step is taken
        time.sleep(0.1)
        backend.open.set()
        assert [one.read()[0] for one in clients] == [200] * (OPEN - 2)
        assert computed == [str(session) for session in range(OPEN) if session != IN_WORK + 3]
        until(lambda: gate.admission.open == 0)
        assert not gate.admission.line
        other = Client(port)
        assert other.post("/v1/act", SEEN)[0] == 200
        for one in (*clients, other):
            one.close()


def test_slow_bodies_do_not_stop_the_line(pair: Any) -> None:
    gate, backend, _ = line_of(pair)
    backend.open.set()
    with running_server(gate) as port:
        slow = [Client(port) for _ in range(IN_WORK + 4)]
        for one in slow:
            one.socket.sendall(b"POST /v1/act HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{")
        until(lambda: gate.admission.open == len(slow))  # the parser has them
        client = Client(port)
        began = time.monotonic()
        assert [client.post("/v1/act", SEEN)[0] for _ in range(5)] == [200] * 5
        assert time.monotonic() - began < 2.0
        for one in (*slow, client):
            one.close()
        until(lambda: gate.admission.open == 0)


def test_who_waits_in_line_is_answered_when_the_service_stops(pair: Any) -> None:
    gate, backend, _ = line_of(pair)
    with running_server(gate) as port:
        clients = ask(port, gate, 12)
        threading.Timer(0.5, backend.open.set).start()
    for one in clients:
        status, headers, _ = one.read()
        assert status == 200 and headers["connection"] == "close"
        one.close()


def test_no_one_waits_in_line_for_longer_than_the_time_limit(pair: Any) -> None:
    gate, backend, _ = line_of(pair, timeout=0.4)
    with running_server(gate) as port:
        clients = ask(port, gate, OPEN)
        began = time.monotonic()
        assert [one.read()[0] for one in clients] == [504] * OPEN
        assert time.monotonic() - began < 2.0
        backend.open.set()
        for one in clients:
            one.close()


def test_what_is_open_is_answered_when_the_service_stops(pair: Any) -> None:
    backend = Waits(pair.agent, 8)
    backend.open = threading.Event()
    gate = gate_of(backend)
    with running_server(gate) as port:
        client = Client(port)
        client.send("/v1/act", SEEN)
        until(lambda: gate.admission.open == 1)
        threading.Timer(0.5, backend.open.set).start()
    status, headers, _ = client.read()
    assert status == 200 and headers["connection"] == "close"
    assert client.file.read() == b""
    client.close()
