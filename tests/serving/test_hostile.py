"""Hostile requests: none is answered with a fault, none is kept waiting for, none reaches what is not its own."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from seqel.serving.backends.torch_agent import TorchBackend
from seqel.serving.http.app import make_app
from support_serving import make_service, running_server

OBSERVATION = [0.1, 0.2, 0.3]


@pytest.fixture(scope="module")
def client(pair: Any) -> Iterator[TestClient]:
    service = make_service(TorchBackend(pair.agent, 8), agent=pair.agent, body=100_000, history=100, timeout=5.0)
    with TestClient(make_app(service, name="maze"), raise_server_exceptions=False) as found:
        found.post("/v1/sessions", json={"session": "one"})
        yield found


BODIES: list[bytes] = [
    b"", b"null", b"[]", b"{}", b"{", b"\x00", b"\xff\xfe", b'"' + b"a" * 50_000 + b'"', b"[" * 40_000, b'{"a":' * 20_000,
    b"1" * 90_000, b'{"observation": 1e999}', b'{"observation": [1e999, 0, 0]}', b'{"observation": [NaN, 0, 0]}',
    b'{"observation": [-Infinity, 0, 0]}', b'{"observation": [0.1, 0.2]}', b'{"observation": [[0.1, 0.2, 0.3]]}',
    b'{"observation": "\\ud800"}', b'{"observation": {"__class__": "os.system"}}', b'{"observation": [true, false, null]}',
    b'{"observation": [0.1, 0.2, ' + b"9" * 5_000 + b"]}", b'{"observation": [0.1, 0.2, "' + b"9" * 5_000 + b'"]}',
    json.dumps({"observation": [0.0] * 15_000}).encode(), json.dumps({"observation": OBSERVATION, "reward": [1]}).encode(),
    json.dumps({"observation": OBSERVATION, "step": 1 << 70}).encode(),
    json.dumps({"observation": OBSERVATION, "step": "0"}).encode(),
    json.dumps({"observation": OBSERVATION, "mask": [[[]]]}).encode(),
    json.dumps({"observation": OBSERVATION, "mask": {"a": 1}}).encode(),
    json.dumps({"observation": OBSERVATION, "candidates": list(range(20_000))}).encode(),
    json.dumps({"observation": OBSERVATION, "candidates": [{}]}).encode(),
    json.dumps({"observation": OBSERVATION, "previous_action": 1 << 70}).encode(),
    json.dumps({"observation": OBSERVATION, "history": [{"observation": OBSERVATION, "action": 0}] * 101}).encode(),
    json.dumps({"observation": OBSERVATION, "history": [[]]}).encode(),
    json.dumps({"observation": OBSERVATION, "history": [{"observation": OBSERVATION}]}).encode(),
    json.dumps({"observation": OBSERVATION, "history": [{"observation": OBSERVATION, "action": 0, "reward": "x"}]}).encode(),
    json.dumps({"observation": OBSERVATION, "agent": "../../etc/passwd"}).encode(),
    json.dumps({"observation": OBSERVATION, "agent": 5}).encode(), json.dumps({"requests": [{}] * 2_000}).encode(),
    json.dumps({"requests": [{"session": {"a": 1}}]}).encode(), json.dumps({"session": "a" * 10_000}).encode(),
    json.dumps({"session": "one/../two"}).encode(), json.dumps({"session": None, "agent": None}).encode(),
    json.dumps({"history": [{}], "k": 5}).encode(), json.dumps({"history": ["a"] * 5_000}).encode(),
    json.dumps({"history": [], "k": -1}).encode(), json.dumps({"history": [], "k": 1 << 40}).encode(),
    json.dumps({"history": [1.5, None]}).encode(), json.dumps({"step": 0, "reward": 1e308}).encode(),
    json.dumps({"name": "../x"}).encode(), json.dumps({"name": "a\u0000b"}).encode(),
    json.dumps({"inputs": [{"name": "observation", "shape": [1 << 30, 3], "datatype": "FP32", "data": []}]}).encode(),
    json.dumps({"inputs": [{"name": "observation", "shape": [1, 3], "datatype": "BYTES", "data": [{}, [], None]}]}).encode(),
    json.dumps({"inputs": [{"name": ["a"], "shape": [1, 3], "datatype": "FP32", "data": OBSERVATION}]}).encode(),
    json.dumps({"inputs": [{"name": "observation", "shape": [True, 3], "datatype": "FP32", "data": OBSERVATION}]}).encode(),
    json.dumps({"inputs": [{"name": "observation", "shape": [1, 3], "datatype": "FP32", "data": [[1], 2, 3]}]}).encode(),
    json.dumps({"inputs": [{"name": "observation", "shape": [1, 3], "datatype": "INT8", "data": [1000, 2, 3]}]}).encode(),
]  # fmt: skip
ROUTES = [
    "/v1/sessions", "/v1/sessions/one/act", "/v1/sessions/one/feedback", "/v1/act", "/v1/batch", "/v1/rank", "/v1/agents",
    "/v2/models/maze/infer", "/v1/rollback", "/v1/agents/x/activate",
]  # fmt: skip


@pytest.mark.parametrize("route", ROUTES)
def test_no_body_makes_the_service_fail(client: TestClient, route: str) -> None:
    for body in BODIES:
        found = client.post(route, content=body)
        assert found.status_code < 500, (body[:100], found.text)
        if found.status_code >= 400:
            assert set(found.json()["error"]) == {"type", "message", "request"}
            assert len(found.content) < 4_000  # what was sent is not sent back
            for word in ("Traceback", "site-packages", "/src/", "/home"):
                assert word not in found.text
    assert client.post("/v1/act", json={"observation": OBSERVATION}).status_code == 200


def test_mutated_requests_never_make_it_fail(client: TestClient) -> None:
    """Random deletions, repetitions and other bytes in requests that are right."""
    rng = random.Random(0)
    right = [
        ("/v1/act", {"observation": OBSERVATION, "history": [{"observation": OBSERVATION, "action": 1, "reward": 0.5}]}),
        ("/v1/sessions/one/act", {"observation": OBSERVATION, "reward": 1.0, "mask": [1, 0, 1]}),
        ("/v1/batch", {"requests": [{"session": "one", "observation": OBSERVATION}]}),
        ("/v2/models/maze/infer", {
            "parameters": {"sequence_id": 3, "sequence_start": True},
            "inputs": [{"name": "observation", "shape": [1, 3], "datatype": "FP32", "data": OBSERVATION}],
        }),
    ]  # fmt: skip
    for _ in range(400):
        path, given = rng.choice(right)
        data = bytearray(json.dumps(given).encode())
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(data))
            match rng.randrange(4):
                case 0:
                    del data[at : at + rng.randint(1, 6)]
                case 1:
                    data[at:at] = data[at : at + rng.randint(1, 20)]
                case 2:
                    data[at] = rng.randrange(256)
                case _:
                    data[at:at] = rng.choice([b"null", b"[]", b"-", b"1e5", b'"', b"{}", b"true"])
            data = data or bytearray(b" ")
        found = client.post(path, content=bytes(data))
        assert found.status_code < 500, (path, bytes(data), found.text)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/sessions/..%2f..%2fetc%2fpasswd", "/v1/sessions/%00", "/v1/sessions/" + "a" * 5_000, "/v1/agents/..%2f..",
        "/v2/models/..%2f..", "/static/..%2f..%2fgate.py", "/static/%2e%2e/gate.py", "//etc/passwd", "/v1//sessions",
        "/%ff%fe", "/v1/sessions/other%2Fone",
    ],
)  # fmt: skip
def test_paths_lead_nowhere(client: TestClient, path: str) -> None:
    for method in ("GET", "DELETE", "POST", "PATCH"):
        found = client.request(method, path)
        assert found.status_code in (404, 405, 410, 422), found.text
        assert "root:" not in found.text


def test_strange_headers_are_no_fault(client: TestClient) -> None:
    for headers in (
        {"x-request-id": "a" * 10_000}, {"x-request-id": "a\tb"}, {"content-type": "text/plain"}, {"content-length": "-1"},
        {"content-length": "x"}, {"transfer-encoding": "chunked"}, {"authorization": "Bearer"}, {"authorization": "\x01"},
        {"accept": "image/png"}, {"expect": "100-continue"},
    ):  # fmt: skip
        found = client.post("/v1/act", content=json.dumps({"observation": OBSERVATION}), headers=headers)
        assert found.status_code < 500, (headers, found.text)
        assert len(found.headers["x-request-id"]) <= 64


@pytest.fixture
def running(pair: Any) -> Iterator[int]:
    service = make_service(TorchBackend(pair.agent, 8), body=10_000_000, body_time=0.5)
    with running_server(make_app(service)) as port:
        yield port


def send(port: int, data: bytes, pause: float = 0.0) -> bytes:
    """Send bytes one by one, or at once, and return what comes back until the connection ends or nothing comes."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as one:
        found = b""
        try:
            if pause:
                for byte in data:
                    one.sendall(bytes([byte]))
                    time.sleep(pause)
            else:
                one.sendall(data)
        except OSError:  # it has had enough
            pass
        one.settimeout(2.0)
        try:
            while part := one.recv(65_536):
                found += part
                if b"}}" in found:
                    break
        except OSError:
            pass
        return found


def test_a_slow_body_is_not_waited_for_and_holds_up_no_one(running: int) -> None:
    head = b"POST /v1/act HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n"
    answers: list[bytes] = []
    slow = [threading.Thread(target=lambda: answers.append(send(running, head + b"{" * 40, 0.02))) for _ in range(20)]
    for one in slow:
        one.start()
    time.sleep(0.2)
    began = time.monotonic()
    body = json.dumps({"observation": OBSERVATION}).encode()
    right = b"POST /v1/act HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    assert b" 200 OK" in send(running, right)
    assert time.monotonic() - began < 2.0
    for one in slow:
        one.join()
    assert all(b" 408 " in one and b"TooSlow" in one for one in answers), answers


def test_a_large_body_is_refused_before_it_is_sent(running: int) -> None:
    head = b"POST /v1/act HTTP/1.1\r\nhost: x\r\ncontent-length: 8000000000\r\n\r\n"
    began = time.monotonic()
    assert b" 413 " in send(running, head)
    assert time.monotonic() - began < 2.0


def test_garbage_instead_of_http_is_refused(running: int) -> None:
    for data in (b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 100_000):
        found = send(running, data)
        assert found == b"" or b" 400 " in found or b" 431 " in found, found[:100]
