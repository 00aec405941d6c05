"""Throughput of `seqel serve` beside the bare onnxruntime session and three other servers of the same model.

    python benchmarks/serving.py [--server seqel litserve bentoml ray] [--sessions 1 16 128] [--seconds 8] [--table]

The agent is untrained, because only time is measured: 6 layers, width 256, context 128 (or --layers, --width, --context).
Every server has core 0 and one thread for the model, the load generator core 1. The others have no sessions: each request is
a first step, without the history that ours holds; with --batch they gather requests into batches as ours does. Ray listens on
all addresses: run it in a network namespace, `unshare -n sh -c "ip link set lo up && python benchmarks/serving.py ..."`.
Their environment: benchmarks/peers/README.md. One JSON file per run in benchmarks/results/serving/.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving_load import body_of

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "serving"
PEERS = HERE / "peers" / "serving"
PORT = 8_190
CORES = (0, 1)  # of the server, of the load generator
QUEUE = ("wait", "10")  # seconds: as the others, ours refuses no client of a closed loop, also on a slow machine
SERVERS = ["seqel", "litserve", "bentoml", "ray"]


def make_agent(folder: Path, layers: int, width: int, context: int) -> Path:
    """Save an agent with random weights, and return its export."""
    import gymnasium as gym
    import torch

    from seqel.agents.agent import Agent
    from seqel.deployment.export import export
    from seqel.networks.config import NetworkConfig
    from seqel.networks.qnetwork import QNetwork
    from seqel.spaces import ActionSpec, ObservationSpec

    env = gym.make("CartPole-v1")
    spec, actions = ObservationSpec.from_space(env.observation_space), ActionSpec.from_space(env.action_space)
    torch.manual_seed(0)
    agent = Agent(QNetwork(NetworkConfig(layers=layers, width=width, context=context), spec, actions))
    agent.save(folder / "agent")
    return export(agent, folder / "agent.onnx")


def command_of(
    server: str, model: Path, batch: int, source: Path = HERE.parent / "src", more: Sequence[str] = ()
) -> tuple[list[str], str, dict[str, str]]:
    """Return how a server is started, the kind of its interface, and its environment.

    source: where the library is. more: names and values of further arguments of `seqel serve`.
    """
    python, own = str(PEERS / ".venv" / "bin" / "python"), dict(os.environ)
    own |= {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "BENTOML_DO_NOT_TRACK": "True", "MOST": str(batch)}
    own |= {"MODEL": str(model), "BENTOML_HOME": str(model.parent / "bentoml"), "PYTHONPATH": str(PEERS)}
    if server == "seqel":
        own["PYTHONPATH"] = str(source)
        further = [f"--{one}" if not place % 2 else one for place, one in enumerate(more)]
        return [sys.executable, "-m", "seqel", "serve", str(model), "--port", str(PORT), *further], "seqel", own
    if server == "bentoml":
        found = [
            str(PEERS / ".venv" / "bin" / "bentoml"),
            "serve",
            "bento:Agent",
            "--port",
            str(PORT),
            "--host",
            "127.0.0.1",
        ]
        return found, "lists" if batch > 1 else "plain", own
    file = {"litserve": "lit.py", "ray": "ray_app.py"}[server]
    return [python, str(PEERS / file), str(model), str(PORT), str(batch)], "plain", own


def busy_seconds(core: int) -> float:
    """Return the processor time that all processes together have had of a core, as far as the system counts it."""
    lines = Path("/proc/stat").read_text().splitlines()
    fields = next(line for line in lines if line.startswith(f"cpu{core} ")).split()[1:]
    return sum(map(int, fields[:3] + fields[5:8])) / os.sysconf("SC_CLK_TCK")


class Server:
    """A server on a core of its own."""

    def __init__(
        self, server: str, model: Path, batch: int, source: Path = HERE.parent / "src", more: Sequence[str] = ()
    ) -> None:
        command, self.kind, environment = command_of(server, model, batch, source, more)
        self.log = model.parent / f"{server}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["taskset", "-c", str(CORES[0]), *command],
                stdout=log,
                stderr=log,
                env=environment,
                cwd=PEERS,
                start_new_session=True,
            )
        path = "/v2/health/ready" if self.kind == "seqel" else "/predict"
        body = None if self.kind == "seqel" else body_of(self.kind, [0.1, 0.2, 0.3, 0.4])
        until = time.monotonic() + 120
        while time.monotonic() < until:
            request = urllib.request.Request(
                f"http://127.0.0.1:{PORT}{path}", body, {"content-type": "application/json"}
            )
            try:
                with urllib.request.urlopen(request, timeout=5) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.5)
        self.stop()
        raise TimeoutError(f"{server} is not ready: {self.log.read_text(errors='replace')[-2000:]}")

    @property
    def cpu_seconds(self) -> float:
        """The processor time of its process so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def load(kind: str, sessions: int, seconds: float, rate: float = 0.0) -> dict[str, Any]:
    """Run the load generator on core 1: a closed loop, or requests at a given rate."""
    found = subprocess.run(
        ["taskset", "-c", str(CORES[1]), sys.executable, str(HERE / "serving_load.py"), f"http://127.0.0.1:{PORT}",
         "--kind", kind, "--sessions", str(sessions), "--seconds", str(seconds), "--rate", str(rate)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return dict(json.loads(found.stdout))


def bare(model: Path, rows: int, seconds: float) -> dict[str, Any]:
    """Return how many rows per second the bare session decides, this process being on core 0."""
    sys.path.insert(0, str(PEERS))
    from model import Model  # type: ignore[import-not-found]

    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {CORES[0]})
    made, seen = Model(str(model)), np.zeros((rows, 4)).tolist()
    for _ in range(20):
        made.decide(seen)
    count, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        made.decide(seen)
        count += rows
    os.sched_setaffinity(0, before)
    return {"per_second": round(count / passed, 1), "seconds": round(passed, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", nargs="+", choices=SERVERS, default=SERVERS[:3])
    parser.add_argument("--sessions", nargs="+", type=int, default=[1, 16, 128])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--batch", type=int, default=1, help="of the other servers, at most")
    parser.add_argument("--name", default="serving", help="of the JSON file")
    parser.add_argument("--table", action="store_true", help="print what was measured instead of measuring")
    given = parser.parse_args()
    path = RESULTS / f"{given.name}.json"
    if given.table:
        show(json.loads(path.read_text()))
        return
    shape = {"layers": given.layers, "width": given.width, "context": given.context}
    flags = Path("/proc/cpuinfo").read_text().split("flags", 1)[-1].split("\n", 1)[0]
    found: dict[str, Any] = {
        "command": " ".join(sys.argv), "agent": shape, "batch_of_others": given.batch, "cores": os.cpu_count(),
        "flags": [one for one in ("avx2", "avx512f", "avx512_bf16") if f" {one}" in flags], "runs": {},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        model = make_agent(Path(folder), **shape)
        for rows in (1, 16, 64):
            found["runs"][f"bare session, {rows} rows"] = bare(model, rows, given.seconds / 2)
        for name in given.server:
            server = Server(name, model, given.batch, more=QUEUE)
            try:
                load(server.kind, 4, 2.0)  # warm
                for sessions in given.sessions:
                    found["runs"][f"{name}, {sessions} sessions"] = load(server.kind, sessions, given.seconds)
                    print(name, sessions, found["runs"][f"{name}, {sessions} sessions"], flush=True)
            finally:
                server.stop()
        found["runs"]["bare session, 1 rows, again"] = bare(model, 1, given.seconds / 2)
    RESULTS.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")
    show(found)


def show(found: dict[str, Any]) -> None:
    """Print a table."""
    print(f"agent: {found['agent']}; flags {found['flags']}; others batch up to {found['batch_of_others']}")
    print("| server | steps per second | p50 ms | p99 ms |\n|---|---|---|---|")
    for name, one in found["runs"].items():
        times = one.get("ms", {})
        print(f"| {name} | {one['per_second']:,.0f} | {times.get('p50', '')} | {times.get('p99', '')} |")


if __name__ == "__main__":
    main()
