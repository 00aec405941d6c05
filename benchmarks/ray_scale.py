"""Ray Serve adds a replica of the service under load and removes it afterwards; every decision of the sessions is checked.

    unshare -n --pid --fork --kill-child --mount-proc sh -c \\
        "ip link set lo up && exec python benchmarks/ray_scale.py --python RAY/bin/python"

Ray listens on all addresses, so this runs only where there is no network but the loopback. --python: an interpreter with
ray[serve] and deploy/requirements-onnx.txt; this one needs torch, to make the agent. Few sessions, then many until a second
replica runs and for a while after; one replica is killed, and Ray starts another one; few sessions until one replica is
left; then sessions without steps are opened until a second replica runs, and closed. Each step has a number, and is sent
again after a status of 500 or more or a lost connection. At the end, an agent that was never interrupted decides the same
steps, and its decisions are compared. One JSON file in benchmarks/results/serving.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
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
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray_scale_sessions import Sessions

HERE = Path(__file__).parent
RESULT = HERE / "results" / "serving" / "ray-scale.json"
PORT, REDIS_PORT = 8_191, 8_192
IDLE = 150  # sessions that are opened and do nothing
SCALING = {
    "max_replicas": 2, "target_ongoing_requests": 8, "sessions_per_replica": 100, "upscale_delay": 3, "downscale_delay": 10,
    "look_back": 11, "cpus": 1,
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
                raise TimeoutError(f"expected {count} replicas, got {self.running}")
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


def with_random_heads(folder: Path) -> Path:
    """Export the agent in `folder` with noise added to its weights: without it, every score is 0."""
    import torch

    from seqel.agents.agent import Agent
    from seqel.deployment.export import export

    agent = Agent.load(folder / "agent", "cpu")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in agent.network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return export(agent, folder / "noisy.onnx")


async def _paced(sessions: Sessions, one: int, going: Callable[[], bool]) -> None:
    """Play a session with a pause after every step, so that it is a light load."""
    while going():
        await sessions.play(one, iter((True, False)).__next__)
        await asyncio.sleep(0.05)


def main() -> None:
    if sys.argv[1:2] == ["--on-ray"]:
        run_ray(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", required=True, help="with Ray")
    parser.add_argument("--few", type=int, default=2)
    parser.add_argument("--many", type=int, default=32)
    parser.add_argument("--hold", type=float, default=12.0, help="seconds of each load once its replicas run")
    parser.add_argument("--any-replica", action="store_true", help="do not bring a session to the same replica")
    parser.add_argument("--log", type=Path, help="of Ray, kept if given")
    given = parser.parse_args()
    if {name for _, name in socket.if_nameindex()} != {"lo"}:
        sys.exit("Ray listens on all addresses: run this where the loopback is the only network; see --help")
    sys.path.insert(0, str(HERE))
    from ray_scale_sessions import Sessions
    from serving import make_agent

    program = shutil.which("redis-server") or sys.exit("redis-server is not installed")
    shape = {"layers": 2, "width": 64, "context": 64}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_agent(folder, **shape)
        model = with_random_heads(folder)
        redis = subprocess.Popen(
            [program, "--port", str(REDIS_PORT), "--bind", "127.0.0.1", "--dir", name, "--save", "", "--appendonly", "yes",
             "--appendfsync", "everysec"],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        log = given.log or folder / "ray.log"
        replicas = Replicas(given.python, model, log, not given.any_replica)
        sessions = Sessions(given.few + given.many, PORT)
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
    more = " --any-replica" if given.any_replica else ""
    result = {
        "command": f"python benchmarks/ray_scale.py --few {given.few} --many {given.many} --hold {given.hold:g}{more}",
        "agent": shape, "scaling": SCALING | {"route_by_session": not given.any_replica}, "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0], "sessions": {"few": given.few, "many": given.many, "without steps": IDLE},
        "seconds": found, "replicas": changes, "statuses": dict(sessions.statuses), "checked": checked,
    }  # fmt: skip
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    path = RESULT.with_stem("ray-scale-any-replica") if given.any_replica else RESULT
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    if checked["differ"]:
        sys.exit(f"{checked['differ']} decisions differ")


if __name__ == "__main__":
    main()
