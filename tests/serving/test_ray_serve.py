"""The Ray Serve application: its settings, its policy, and a replica. A stand-in for Ray records what it is given.

benchmarks/ray_scale.py runs it on Ray, where replicas come and go.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import orjson
import pytest

from seqel.errors import ConfigError, MissingExtraError
from seqel.monitoring.log import read_log
from seqel.safety.audit import KEY, verify
from seqel.safety.audit import read as read_audit
from seqel.safety.review import read_review_queue
from seqel.serving.config import ServiceConfig
from seqel.serving.ray_serve import BySessions, Replica, ScaleConfig, application, build

REDIS = "redis://127.0.0.1:6379/0"


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What Ray Serve is given by `build`."""
    given: dict[str, Any] = {}

    def deployment(made: Any, **options: Any) -> Any:
        given.update(options, made=made)
        return SimpleNamespace(bind=lambda *arguments: given.update(arguments=arguments) or "application")

    serve = ModuleType("ray.serve")
    serve.deployment, serve.ingress = deployment, lambda: lambda cls: cls  # type: ignore[attr-defined]
    package = ModuleType("ray")
    package.serve = serve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", package)
    monkeypatch.setitem(sys.modules, "ray.serve", serve)
    return given


def test_the_settings_reach_ray(ray: dict[str, Any]) -> None:
    scaling = ScaleConfig(min_replicas=2, max_replicas=6, target_ongoing_requests=16, sessions_per_replica=500)
    assert build("agent.onnx", ServiceConfig(queue=100), scaling, redis=REDIS) == "application"
    found = ray["autoscaling_config"]
    assert (found["min_replicas"], found["max_replicas"], found["target_ongoing_requests"]) == (2, 6, 16)
    assert found["policy"] == {
        "policy_function": "seqel.serving.ray_serve:BySessions", "policy_kwargs": {"sessions_per_replica": 500}
    }  # fmt: skip
    assert (ray["max_ongoing_requests"], ray["max_queued_requests"]) == (100, 100)
    assert ray["graceful_shutdown_timeout_s"] == 30
    run, config, options = ray["arguments"]
    assert run.startswith("/") and run.endswith("/agent.onnx"), "nodes have other working folders"
    assert ServiceConfig(**config) == ServiceConfig(queue=100)
    assert options["redis"] == REDIS


def test_without_sessions_rays_own_policy_decides(ray: dict[str, Any]) -> None:
    build("agent.onnx", redis=REDIS)
    assert "policy" not in ray["autoscaling_config"]


def test_a_ray_without_consistent_hashing_routes_as_it_does(ray: dict[str, Any]) -> None:
    build("agent.onnx", redis=REDIS)
    assert "request_router_config" not in ray


def test_texts_of_a_command_line_become_settings(ray: dict[str, Any]) -> None:
    application(
        {"run": "agent.onnx", "redis": REDIS, "max_replicas": "3", "timeout": "2.5", "route_by_session": "false",
         "keys": "keys.txt", "on_swap": "rebuild"}
    )  # fmt: skip
    _, config, options = ray["arguments"]
    assert ray["autoscaling_config"]["max_replicas"] == 3
    assert (config["timeout"], config["on_swap"]) == (2.5, "rebuild")
    assert options["keys"].endswith("/keys.txt")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "expected run=PATH"),
        ({"run": "a", "replicas": 2}, "got replicas"),
        ({"run": "a", "redis": REDIS, "max_replicas": "two"}, "max_replicas: expected int, got 'two'"),
        ({"run": "a", "redis": REDIS, "route_by_session": "maybe"}, "route_by_session: expected bool"),
        ({"run": "a", "redis": REDIS, "min_replicas": 5}, "max_replicas: expected at least 5, got 4"),
        ({"run": "a"}, "several replicas share the sessions"),
    ],
)
def test_wrong_settings_are_named(given: dict[str, Any], message: str, ray: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=message):
        application(given)


def test_one_replica_needs_no_redis(ray: dict[str, Any]) -> None:
    build("agent.onnx", scaling=ScaleConfig(max_replicas=1))
    assert ray["arguments"][2]["redis"] == ""


def test_ray_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.serve", None)
    with pytest.raises(MissingExtraError, match=r"seqel\[scale\]"):
        build("agent.onnx", redis=REDIS)


@pytest.mark.parametrize(
    ("requests", "sessions", "expected"),
    [(80, [], 10.0), (80, [900], 10.0), (8, [1_500, 1_450], 15.0), (0, [0], 0.0)],
)
def test_the_policy_takes_the_larger_number(requests: float, sessions: list[float], expected: float) -> None:
    """Every replica reports the sessions of all, so 1,500 and 1,450 are not 2,950."""
    context = SimpleNamespace(
        total_num_requests=requests, config=SimpleNamespace(target_ongoing_requests=8),
        aggregated_metrics={"sessions_open": dict(enumerate(sessions))} if sessions else None,
    )  # fmt: skip
    assert BySessions(100)(context) == (expected, {})


def options_of(**given: Any) -> dict[str, Any]:
    """The options that a replica gets from `build`."""
    plain = {
        "redis": "",
        "name": "",
        "backend": "auto",
        "device": "auto",
        "threads": 1,
        "log": "error",
        "signed": False,
    }
    return plain | dict.fromkeys(("keys", "decisions", "audit", "review")) | given


def test_logs_and_the_queue_reach_the_replicas(
    ray: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(KEY, raising=False)
    application({"run": "agent.onnx", "redis": REDIS, "audit": "logs", "review": "/queue.jsonl", "decisions": ""})
    options = ray["arguments"][2]
    assert options["audit"] == str(tmp_path / "logs"), "nodes have other working folders"
    assert (options["review"], options["decisions"], options["signed"]) == ("/queue.jsonl", None, False)
    assert options.keys() == options_of().keys()
    monkeypatch.setenv(KEY, "sixteen bytes at least")
    build("agent.onnx", redis=REDIS, audit="logs")
    assert ray["arguments"][2]["signed"] is True
    build("agent.onnx", redis=REDIS)
    assert ray["arguments"][2]["signed"] is False, "nothing to sign"
    monkeypatch.setenv(KEY, "short")
    with pytest.raises(ConfigError, match=KEY):
        build("agent.onnx", redis=REDIS, audit="logs")


def test_every_replica_logs_its_decisions_and_all_add_to_one_queue(
    pair: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two replicas take turns in one session, as after a replica was added."""
    monkeypatch.setenv(KEY, "sixteen bytes at least")
    options = options_of(
        audit=str(tmp_path / "audit"), decisions=str(tmp_path / "decisions"), review=str(tmp_path / "queue.jsonl"),
        signed=True,
    )  # fmt: skip
    replicas = [Replica(str(pair.file), {"sessions": 10}, options) for _ in range(2)]
    replicas[1].service.store = store = replicas[0].service.store
    for served in replicas[1].service.agents.values():
        served.batcher.store = store

    async def run() -> None:
        await replicas[0].service.create("anna")
        for step in range(6):
            await replicas[step % 2].service.act("anna", {"observation": [0.1, 0.2, 0.3], "reward": 1.0, "step": step})
        for one in replicas:
            await one.service.stop()

    asyncio.run(run())
    logs = sorted((tmp_path / "audit").iterdir())
    steps = [[entry["step"] for entry in read_audit(log) if entry["kind"] == "decision"] for log in logs]
    assert sorted(steps) == [[0, 2, 4], [1, 3, 5]]
    assert all(verify(log, b"sixteen bytes at least").status == "intact" for log in logs)
    assert [entry["step"] for entry in read_review_queue(tmp_path / "queue.jsonl").sessions[0]] == list(range(6))
    assert len(read_log(sorted((tmp_path / "decisions").iterdir()), pair.agent)) == 6

    monkeypatch.delenv(KEY)
    with pytest.raises(ConfigError, match="on this node too"):
        Replica(str(pair.file), {"sessions": 10}, options)


def test_a_replica_serves_and_stops_in_good_order(pair: Any) -> None:
    """As Ray does: the lifespan, requests as ASGI messages, the statistics, the end of the lifespan."""
    replica = Replica(str(pair.file), {"sessions": 10}, options_of())
    app = replica.__serve_build_asgi_app__()

    async def request(path: str, body: dict[str, Any]) -> tuple[int, Any]:
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": path,
            "raw_path": path.encode(), "root_path": "", "query_string": b"", "scheme": "http", "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000), "headers": [(b"content-length", str(len(orjson.dumps(body))).encode())],
        }  # fmt: skip
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": orjson.dumps(body), "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await app(scope, receive, send)
        assert b"x-request-id" not in dict(sent[0]["headers"]), "Ray adds it"
        return sent[0]["status"], orjson.loads(b"".join(one.get("body", b"") for one in sent[1:]))

    async def run() -> None:
        messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        answered: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        lifespan = asyncio.create_task(app({"type": "lifespan", "asgi": {}}, messages.get, answered.put))
        await messages.put({"type": "lifespan.startup"})
        assert (await answered.get())["type"] == "lifespan.startup.complete"
        assert await replica.record_autoscaling_stats() == {"sessions_open": 0.0}
        assert (await request("/v1/sessions", {"session": "a"}))[0] == 201
        status, answer = await request("/v1/sessions/a/act", {"observation": [0.1, 0.2, 0.3], "step": 0})
        assert status == 200 and answer["step"] == 0
        assert await replica.record_autoscaling_stats() == {"sessions_open": 1.0}
        await messages.put({"type": "lifespan.shutdown"})
        assert (await answered.get())["type"] == "lifespan.shutdown.complete"
        await lifespan
        assert replica.service.stopping

    asyncio.run(run())
