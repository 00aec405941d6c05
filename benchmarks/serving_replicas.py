"""What a step costs with several replicas behind a proxy: requests go to any of them, or those of a session to the same one.

    python benchmarks/serving_replicas.py [--replicas 1 2 4] [--sessions 16] [--seconds 6]

Replicas are processes of `seqel serve` that share a Redis server. The measure is their processor time per step, which does
not depend on how many cores are free. The agent is untrained: 6 layers, width 256, context 128 (or --layers ...).
Prints a table and writes a JSON file in benchmarks/results/serving.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
RESULT = HERE / "results" / "serving" / "replicas.json"
TICK = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def processor_seconds(process: subprocess.Popen[bytes]) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def wait(port: int) -> None:
    """Wait until a replica is ready."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(f"port {port} is not ready")


async def play(ports: list[int], sessions: int, seconds: float, same: bool, prefix: str) -> int:
    """Take steps of sessions in a closed loop, and return their number."""
    from serving_load import Connection

    rng, taken = np.random.default_rng(0), 0
    until = time.monotonic() + seconds

    async def run(session: int) -> None:
        nonlocal taken
        connections = [Connection("127.0.0.1", port) for port in ports]
        name, number = f"{prefix}-{session}", 0
        status, answer = await connections[0].post("/v1/sessions", json.dumps({"session": name}).encode())
        assert status == 201, answer
        while time.monotonic() < until:
            place = session % len(ports) if same else int(rng.integers(len(ports)))
            body = {"observation": rng.standard_normal(4).round(4).tolist(), "reward": 1.0, "step": number}
            status, answer = await connections[place].post(f"/v1/sessions/{name}/act", json.dumps(body).encode())
            assert status == 200, answer
            number += 1
        taken += number
        for one in connections:
            one.close()

    await asyncio.gather(*map(run, range(sessions)))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--sessions", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--context", type=int, default=128)
    given = parser.parse_args()
    sys.path.insert(0, str(HERE))
    from serving import make_agent

    shape = {"layers": given.layers, "width": given.width, "context": given.context}
    program = shutil.which("redis-server") or sys.exit("redis-server is not installed")
    environment = dict(os.environ) | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent / "src")}
    started: list[subprocess.Popen[bytes]] = []
    rows = []
    with tempfile.TemporaryDirectory() as name:
        model, store = make_agent(Path(name), **shape), free_port()
        redis = [program, "--port", str(store), "--bind", "127.0.0.1", "--dir", name, "--save", ""]
        try:
            started.append(subprocess.Popen(redis, stdout=subprocess.DEVNULL))
            ports = [free_port() for _ in range(max(given.replicas))]
            for port in ports:
                command = [sys.executable, "-m", "seqel", "serve", str(model), "--port", str(port)]
                command += ["--redis", f"redis://127.0.0.1:{store}/0"]
                started.append(
                    subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                )
            for port in ports:
                wait(port)
            for count in given.replicas:
                for same in (True, False) if count > 1 else (True,):
                    replicas = started[1 : 1 + count]
                    before, began = sum(map(processor_seconds, replicas)), time.monotonic()
                    taken = asyncio.run(play(ports[:count], given.sessions, given.seconds, same, f"{count}{same}"))
                    used, passed = sum(map(processor_seconds, replicas)) - before, time.monotonic() - began
                    rows.append({
                        "replicas": count, "routing": "by session" if same else "any replica", "steps": taken,
                        "processor_ms_per_step": round(1e3 * used / taken, 3), "per_second": round(taken / passed, 1),
                    })  # fmt: skip
                    print(rows[-1], flush=True)
        finally:
            for one in started:
                one.terminate()
                one.wait()
    result: dict[str, Any] = {
        "command": " ".join(["python", "benchmarks/serving_replicas.py", *sys.argv[1:]]), "agent": shape,
        "sessions": given.sessions, "cores": os.cpu_count(), "load_average": os.getloadavg()[0], "rows": rows,
    }  # fmt: skip
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
