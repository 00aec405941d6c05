"""Ray Serve adds a replica of the service under load and removes it afterwards; every decision of the sessions is checked.

    unshare -n sh -c "ip link set lo up && python benchmarks/ray_scale.py --python benchmarks/peers/serving/.venv/bin/python"

Ray listens on all addresses, so this runs only where there is no network but the loopback. --python: the interpreter with Ray
(benchmarks/peers/README.md); this one needs torch, to make the agent. Few sessions, then many until a second replica runs and
for a while after; one replica is killed, and Ray starts another one; few sessions until one replica is left; then sessions that
do nothing are opened until a second replica runs, and closed. Each step has a number, and is sent again after a status of 500
or more or a lost connection. At the end, an agent that was never interrupted decides the same steps, and the decisions are
compared. One JSON file in benchmarks/results/serving. With unshare's --pid --fork --kill-child, nothing stays behind.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
RESULT = HERE / "results" / "serving" / "ray-scale.json"
PORT, REDIS_PORT = 8_191, 8_192
SIZE, MOST_STEPS = 4, 4_096  # numbers of an observation; steps of a session at most
IDLE = 150  # sessions that are opened and do nothing
SCALING = {
    "max_replicas": 2, "target_ongoing_requests": 8, "sessions_per_replica": 100, "upscale_delay": 3, "downscale_delay": 10,
    "look_back": 4, "cpus": 1,
}  # fmt: skip


def run_ray(arguments: list[str]) -> None:
    """Run the service on a Ray of its own, and print a JSON line whenever the replicas' states change."""
    import ray
    from ray import serve

    from seqel.serving.ray_serve import application

    ray.init(include_dashboard=False, num_cpus=4, _node_ip_address="127.0.0.1", logging_level="ERROR")
    serve.start(http_options={"host": "127.0.0.1", "port": PORT}, logging_config={"enable_access_log": False})
    serve.run(application(dict(one.split("=", 1) for one in arguments)))
    before = None
    while True:
        (deployment,) = serve.status().applications["default"].deployments.values()
        states = {str(getattr(state, "value", state)): count for state, count in deployment.replica_states.items()}
        if states != before:
            print(json.dumps({"time": time.time(), "states": states}), flush=True)
            before = states
        time.sleep(0.25)


class Sessions:
    """Sends steps of sessions, each until it is answered, and holds what was answered."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(0)
        self.seen = rng.standard_normal((count, MOST_STEPS, SIZE)).astype(np.float32)
        self.rewards = rng.standard_normal((count, MOST_STEPS)).astype(np.float32)
        self.actions = np.full((count, MOST_STEPS), -1)
        self.scores = np.zeros((count, MOST_STEPS, 2), np.float32)
        self.steps = np.zeros(count, int)
        self.statuses: Counter[str] = Counter()
        self.times: list[tuple[float, float]] = []  # when a step was answered, and after how many seconds

    async def play(self, session: int, going: Callable[[], bool]) -> None:
        """Take steps of a session, one after another, while `going`."""
        from serving_load import Connection

        connection = Connection("127.0.0.1", PORT)
        if not self.steps[session]:
            await self._send(connection, "/v1/sessions", session, {"session": f"s{session}"})
        while going() and self.steps[session] < MOST_STEPS:
            step = int(self.steps[session])
            given = {
                "observation": self.seen[session, step].tolist(), "reward": float(self.rewards[session, step]), "step": step
            }  # fmt: skip
            began = time.time()
            answer = await self._send(connection, f"/v1/sessions/s{session}/act", session, given)
            self.times.append((time.time(), time.time() - began))
            assert answer["step"] == step
            self.actions[session, step], self.scores[session, step] = answer["action"], answer["scores"]
            self.steps[session] = step + 1
        connection.close()

    async def idle(self, count: int, method: str) -> None:
        """Open or close sessions that take no step."""
        await asyncio.to_thread(self._idle, count, method)

    def _idle(self, count: int, method: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=30)
        for one in range(count):
            path, body = (
                ("/v1/sessions", json.dumps({"session": f"idle{one}"}))
                if method == "POST"
                else (f"/v1/sessions/idle{one}", None)
            )
            connection.request(method, path, body)
            answer = connection.getresponse()
            answer.read()
            assert answer.status < 300, answer.status
        connection.close()

    async def _send(self, connection: Any, path: str, session: int, given: dict[str, Any]) -> dict[str, Any]:
        body, until = json.dumps(given).encode(), time.time() + 60
        while time.time() < until:
            try:
                status, answer = await connection.post(path, body, f"x-session-id: s{session}")
            except (OSError, asyncio.IncompleteReadError) as error:
                self.statuses[type(error).__name__] += 1
                await asyncio.sleep(0.05)
                continue
            self.statuses[str(status)] += 1
            if status < 500:
                assert status < 300, answer
                return dict(json.loads(answer))
            await asyncio.sleep(0.05)
        raise TimeoutError(path)

    def compare(self, model: Path) -> dict[str, Any]:
        """Decide all steps again with one agent that is not interrupted, and return how many decisions differ."""
        from seqel.deployment.runtime import ExportedAgent

        agent, state = ExportedAgent(model), None
        differ, gap = 0, 0.0
        for step in range(int(self.steps.max())):
            decision, state = agent.act(self.seen[:, step], state, reward=self.rewards[:, step])
            rows = np.flatnonzero(self.steps > step)
            differ += int((decision.action[rows] != self.actions[rows, step]).sum())
            gap = max(gap, float(np.abs(decision.q[rows] - self.scores[rows, step]).max()))
        return {"decisions": int(self.steps.sum()), "differ": differ, "largest_gap_of_scores": gap}

    def speed(self, begin: float, end: float) -> dict[str, Any]:
        """Return the rate and latencies of steps that were answered between two times."""
        taken = [1e3 * seconds for when, seconds in self.times if begin <= when < end]
        cuts = np.percentile(taken, [50, 99, 100]).round(1).tolist() if taken else []
        found: dict[str, Any] = {"per_second": round(len(taken) / max(1e-9, end - begin), 1), "steps": len(taken)}
        return found | {"ms": dict(zip(("p50", "p99", "most"), cuts, strict=False))}


class Replicas:
    """The service on Ray in a process, and how many replicas were running when."""

    def __init__(self, python: str, model: Path, log: Path, by_session: bool) -> None:
        environment = dict(os.environ) | {
            "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent / "src")
        }  # fmt: skip
        arguments = {
            "run": model,
            "redis": f"redis://127.0.0.1:{REDIS_PORT}/0",
            "route_by_session": by_session,
            **SCALING,
        }
        self.changes: list[tuple[float, int]] = []
        self.began = time.time()
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                [python, __file__, "--on-ray", *(f"{key}={value}" for key, value in arguments.items())],
                stdout=subprocess.PIPE, stderr=errors, env=environment, start_new_session=True,
            )  # fmt: skip

        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        """Read the changes as they are printed."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(b'{"time"'):
                found = json.loads(line)
                self.changes.append((found["time"], found["states"].get("RUNNING", 0)))
                print(found, flush=True)

    @property
    def running(self) -> int:
        """How many replicas are running now."""
        return self.changes[-1][1] if self.changes else 0

    def kill_one(self) -> None:
        """Kill a replica's process, as if its machine had failed."""
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                name, pid = (folder / "cmdline").read_bytes(), int(folder.name)
                if name.startswith(b"ray::ServeReplica") and self._started(pid):
                    os.kill(pid, signal.SIGKILL)
                    return
        raise RuntimeError("no replica was found")

    def _started(self, pid: int) -> bool:
        """Return whether a process descends from ours."""
        while pid > 1 and pid != self.process.pid:
            pid = int((Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split())[1])
        return pid == self.process.pid

    async def until(self, count: int, seconds: float) -> float:
        """Wait until `count` replicas are running, and return when."""
        end = time.time() + seconds
        while self.running != count:
            if time.time() > end or self.process.poll() is not None:
                raise TimeoutError(f"expected {count} replicas, there are {self.running}")
            await asyncio.sleep(0.1)
        return self.changes[-1][0]


async def measure(replicas: Replicas, sessions: Sessions, few: int, hold: float) -> dict[str, Any]:
    """Play the sessions through the changes of load. -> times in seconds."""
    found: dict[str, Any] = {"started_after": round(await replicas.until(1, 120) - replicas.began, 1)}
    going = {"few": True, "many": True}
    count = len(sessions.steps)
    lasting = [asyncio.create_task(_paced(sessions, one, lambda: going["few"])) for one in range(few)]
    await asyncio.sleep(hold)
    assert replicas.running == 1
    rise = time.time()
    found["few, 1 replica"] = sessions.speed(rise - hold, rise)
    many = [asyncio.create_task(sessions.play(one, lambda: going["many"])) for one in range(few, count)]
    second = await replicas.until(2, 90)
    found["second_replica_runs_after"] = round(second - rise, 1)
    found["many, 1 replica"] = sessions.speed(rise, second)
    await asyncio.sleep(hold)
    fall = time.time()
    found["many, 2 replicas"] = sessions.speed(second, fall)
    replicas.kill_one()
    await replicas.until(1, 60)
    found["replica_replaced_after_kill"] = round(await replicas.until(2, 90) - fall, 1)
    found["many, 1 of 2 replicas killed"] = sessions.speed(fall, time.time())
    going["many"] = False
    await asyncio.gather(*many)
    fall = time.time()
    left = await replicas.until(1, 120)
    found["one_replica_left_after"] = round(left - fall, 1)
    await asyncio.sleep(hold / 2)
    found["few, 1 replica again"] = sessions.speed(left, time.time())
    began = time.time()
    await sessions.idle(IDLE, "POST")
    found["second_replica_runs_after_idle_sessions"] = round(await replicas.until(2, 90) - began, 1)
    began = time.time()
    await sessions.idle(IDLE, "DELETE")
    found["one_replica_left_after_their_end"] = round(await replicas.until(1, 120) - began, 1)
    going["few"] = False
    await asyncio.gather(*lasting)
    return found


async def _paced(sessions: Sessions, one: int, going: Callable[[], bool]) -> None:
    """Play a session with a pause after every step, so that it is a light load."""
    while going():
        asked = iter((True, False))
        await sessions.play(one, lambda asked=asked: next(asked))
        await asyncio.sleep(0.05)


def main() -> None:
    if sys.argv[1:2] == ["--on-ray"]:
        run_ray(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="with Ray")
    parser.add_argument("--few", type=int, default=2)
    parser.add_argument("--many", type=int, default=32)
    parser.add_argument("--hold", type=float, default=12.0, help="seconds of each load once the replicas are there")
    parser.add_argument("--any-replica", action="store_true", help="do not bring a session to the same replica")
    parser.add_argument("--log", type=Path, help="of Ray, kept if given")
    given = parser.parse_args()
    if {name for _, name in socket.if_nameindex()} != {"lo"}:
        sys.exit("Ray listens on all addresses: run this where the loopback is the only network; see --help")
    sys.path.insert(0, str(HERE))
    from serving import make_agent

    program = shutil.which("redis-server") or sys.exit("redis-server is not installed")
    shape = {"layers": 2, "width": 64, "context": 64}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_agent(folder, **shape)
        redis = subprocess.Popen(
            [program, "--port", str(REDIS_PORT), "--bind", "127.0.0.1", "--dir", name, "--save", "", "--appendonly", "yes",
             "--appendfsync", "everysec"],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        log = given.log or folder / "ray.log"
        replicas = Replicas(given.python, model, log, not given.any_replica)
        sessions = Sessions(given.few + given.many)
        try:
            found = asyncio.run(measure(replicas, sessions, given.few, given.hold))
        except BaseException:
            print(log.read_text(errors="replace")[-4000:], file=sys.stderr)
            raise
        finally:
            os.killpg(replicas.process.pid, signal.SIGINT)
            try:
                replicas.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(replicas.process.pid, signal.SIGKILL)
            redis.terminate()
        checked = sessions.compare(model)
    changes = [[round(when - replicas.began, 1), count] for when, count in replicas.changes]
    result = {
        "command": f"python benchmarks/ray_scale.py --few {given.few} --many {given.many} --hold {given.hold:g}{' --any-replica' if given.any_replica else ''}",
        "agent": shape, "scaling": SCALING | {"route_by_session": not given.any_replica}, "cores": os.cpu_count(), "load_average": os.getloadavg()[0],
        "sessions": {"few": given.few, "many": given.many}, "seconds": found, "replicas": changes,
        "statuses": dict(sessions.statuses), "checked": checked,
    }  # fmt: skip
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    path = RESULT.with_stem("ray-scale-any-replica") if given.any_replica else RESULT
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    if checked["differ"]:
        sys.exit(f"{checked['differ']} decisions differ")


if __name__ == "__main__":
    main()
