"""Replicas in processes of their own: killed, stopped and restarted under load, they lose no session and no step."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from support_serving import RedisServer, expected, free_port, histories, redis_server

SESSIONS, STEPS = 8, 60


class Replica:
    """`seqel serve` in a process."""

    def __init__(self, run: Path, *more: str, cache: Path | None = None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.command = [sys.executable, "-m", "seqel", "serve", str(run), "--port", str(self.port), *more]
        self.environment = dict(os.environ) | ({} if cache is None else {"XDG_CACHE_HOME": str(cache)})
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment, text=True
        )

    def wait(self, seconds: float = 90.0) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            assert self.process.poll() is None, self.process.communicate()[1]
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/v2/health/ready").status_code == 200:
                    return
            time.sleep(0.1)
        raise TimeoutError(f"{self.url} is not ready")

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


@contextlib.contextmanager
def replicas(run: Path, count: int, *more: str, cache: Path | None = None) -> Iterator[list[Replica]]:
    made = [Replica(run, *more, cache=cache) for _ in range(count)]
    try:
        for one in made:
            one.wait()
        yield made
    finally:
        for one in made:
            if one.process.poll() is None:
                one.process.kill()
            one.process.communicate()


@pytest.fixture(scope="module")
def run(pair: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(pair.agent.save(tmp_path_factory.mktemp("served") / "maze"))


async def play(urls: list[str], seen: Any, rewards: Any, faults: list[str]) -> Any:
    """Play all sessions at once; every step goes to a random replica, and to another one if that cannot answer.

    -> actions (sessions, steps). What was answered with a status of 500 or more is added to `faults`.
    """
    actions = np.full(seen.shape[:2], -1)
    rng = np.random.default_rng(0)

    async with httpx.AsyncClient(timeout=10.0) as client:

        async def send(path: str, given: dict[str, Any]) -> dict[str, Any]:
            until = time.monotonic() + 20.0
            while time.monotonic() < until:
                try:
                    found = await client.post(f"{urls[rng.integers(len(urls))]}{path}", json=given)
                except httpx.HTTPError:  # no connection, or it ended
                    await asyncio.sleep(0.02)
                    continue
                if found.status_code >= 500:
                    faults.append(f"{found.status_code} {found.text}")
                    await asyncio.sleep(0.02)
                    continue
                assert found.status_code < 300, found.text
                answer: dict[str, Any] = found.json()
                return answer
            raise TimeoutError(path)

        async def one(session: int) -> None:
            await send("/v1/sessions", {"session": f"s{session}"})
            for step in range(seen.shape[1]):
                given = {
                    "observation": seen[session, step].tolist(), "reward": float(rewards[session, step]), "step": step
                }  # fmt: skip
                found = await send(f"/v1/sessions/s{session}/act", given)
                assert found["step"] == step
                actions[session, step] = found["action"]

        await asyncio.gather(*map(one, range(len(seen))))
    return actions


def test_a_replica_is_killed_and_another_one_stopped_under_load(pair: Any, run: Path, redis: RedisServer) -> None:
    seen, rewards = histories(SESSIONS, STEPS)
    with replicas(run, 2, "--redis", redis.url.replace("/0", "/1"), "--backend", "torch") as (first, second):
        faults: list[str] = []

        async def disturb() -> None:
            await asyncio.sleep(0.4)
            first.process.kill()
            first.process.wait()
            await asyncio.sleep(0.5)
            first.start()
            await asyncio.to_thread(first.wait)
            second.process.send_signal(signal.SIGTERM)  # scaled down

        async def both() -> Any:
            found, _ = await asyncio.gather(play([first.url, second.url], seen, rewards, faults), disturb())
            return found

        actions = asyncio.run(both())
        np.testing.assert_array_equal(actions, expected(pair.agent, seen, rewards)[0])
        assert [fault for fault in faults if not fault.startswith("503")] == []
        second.process.wait(timeout=30)
        assert second.process.returncode == 0
        more = httpx.get(f"{first.url}/v1/sessions/s0").json()
        assert more["steps"] == STEPS


def test_redis_is_restarted_under_load(pair: Any, run: Path, tmp_path: Path) -> None:
    seen, rewards = histories(SESSIONS, STEPS, seed=1)
    with redis_server(tmp_path) as server, replicas(run, 1, "--redis", server.url, "--backend", "torch") as (replica,):
        faults: list[str] = []

        async def disturb() -> None:
            await asyncio.sleep(0.3)
            server.kill()
            await asyncio.sleep(0.5)
            await asyncio.to_thread(server.start)

        async def both() -> Any:
            found, _ = await asyncio.gather(play([replica.url], seen, rewards, faults), disturb())
            return found

        np.testing.assert_array_equal(asyncio.run(both()), expected(pair.agent, seen, rewards)[0])
        assert faults == []


def test_the_commands_that_are_printed_work(run: Path, tmp_path: Path) -> None:
    """With onnxruntime, as by default; the export lies in the user's cache folder."""
    with replicas(run, 1, cache=tmp_path) as (replica,):
        code, errors = 0, ""
        lines: list[str] = []
        assert replica.process.stderr is not None
        while len(lines) < 2:
            line = replica.process.stderr.readline()
            if line.lstrip().startswith("curl"):
                lines.append(line.strip())
        session = re.fullmatch(r"curl -X POST (\S+) -d '(.+)'", lines[0])
        act = re.fullmatch(r"curl -X POST (\S+) -d '(.+)'", lines[1])
        assert session is not None and act is not None
        assert httpx.post(session[1], content=session[2]).status_code == 201
        for step in range(3):
            found = httpx.post(act[1], content=act[2])
            assert found.status_code == 200 and found.json()["step"] == step
        assert httpx.get(f"{replica.url}/v1/agents").json()["agents"][0]["backend"] == "onnxruntime"
        assert len(list((tmp_path / "seqel" / "exports").glob("*.onnx"))) == 1
        code, errors = replica.end()
        assert code == 0, errors
        assert errors.rstrip().endswith("stopped")


def test_the_request_of_the_readme_works(tmp_path: Path) -> None:
    """An agent of the demo's task decides when the README's command is sent."""
    import torch

    import seqel.tasks  # registers the demo's task
    from seqel.agents.agent import Agent
    from seqel.environments.resolve import resolve
    from seqel.networks.config import NetworkConfig
    from seqel.networks.qnetwork import QNetwork
    from seqel.spaces import ActionSpec, ObservationSpec

    assert seqel.tasks
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    command = re.search(r"^curl -X POST http://127\.0\.0\.1:8000(/\S+) -d '(.+)'$", readme, re.MULTILINE)
    assert command is not None
    env = resolve("seqel/TMaze50-v0")()
    torch.manual_seed(0)
    spec, actions = ObservationSpec.from_space(env.observation_space), ActionSpec.from_space(env.action_space)
    folder = Agent(QNetwork(NetworkConfig(width=16, heads=2, context=8), spec, actions)).save(tmp_path / "agent")
    with replicas(folder, 1, "--backend", "torch") as (replica,):
        found = httpx.post(f"{replica.url}{command[1]}", content=command[2])
        assert found.status_code == 200 and found.json()["step"] == 0, found.text


def test_an_agent_is_loaded_again_on_a_hangup(pair: Any, run: Path, tmp_path: Path) -> None:
    import torch

    from seqel.agents.agent import Agent

    folder = tmp_path / "maze"
    pair.agent.save(folder)
    with replicas(folder, 1, "--backend", "torch") as (replica,):
        before = httpx.get(f"{replica.url}/v1/agents").json()["active"]
        changed = Agent.load(folder)
        with torch.no_grad():
            next(iter(changed.network.parameters())).add_(1.0)
        changed.save(folder)
        replica.process.send_signal(signal.SIGHUP)
        until = time.monotonic() + 20
        while (active := httpx.get(f"{replica.url}/v1/agents").json()["active"]) == before:
            assert time.monotonic() < until
            time.sleep(0.1)
        assert active.startswith("maze-")
        assert httpx.post(f"{replica.url}/v1/sessions").json()["agent"] == active
        assert httpx.post(f"{replica.url}/v1/rollback").json() == {"version": before}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["{run}", "--port", "99999"], "--port: expected 1 to 65535, got 99999"),
        (["{run}", "--sessions", "0"], "sessions: expected at least 1, got 0"),
        (["{run}", "--keys", "none"], "keys: none cannot be read"),
        (["{run}", "--redis", "localhost"], "expected an address such as redis://"),
        (["{tmp}"], "no agent in"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(
    run: Path, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from seqel.cli.main import main

    given = [one.format(run=run, tmp=tmp_path) for one in arguments]
    assert main(["serve", *given, "--backend", "torch"]) != 0
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_port_that_is_taken_is_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    from seqel.cli.main import main

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", str(run), "--port", str(port), "--backend", "torch"]) == 2
    assert f"got 127.0.0.1:{port}: it is in use" in " ".join(capsys.readouterr().err.split())
