"""The speed of the parts on this machine, and how it depends on context, width, environments and buffer size.

    taskset -c 1 python benchmarks/speed_table.py [--full]

Each row is a `seqel bench` in a process of its own, with one thread. This takes about two minutes; --full adds compiled rows
(a minute of compilation each, the first time) and the scaling curves. Results: benchmarks/results/table/{short,full}.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from measured import commit

RESULTS = Path(__file__).parent / "results" / "table"

# name: arguments of `seqel bench`
SHORT = {
    "update, width 64": "update",
    "update, width 64, bf16": "update --precision bf16",
    "update, width 128": "update --width 128 --heads 8",
    "act, 16 environments": "act",
    "act, 1 environment": "act --envs 1",
    "act, 16 environments, context 128": "act --context 128",
    "act, 16 environments, onnxruntime": "act --backend onnxruntime",
    "act, 1 environment, onnxruntime": "act --envs 1 --backend onnxruntime",
    "draw 32 windows from 100,000 steps": "replay",
    "draw 32 windows by priority, and update them": "replay --priority 0.6",
    "CartPole-v1, 16": "env --env CartPole-v1 --repeats 20",
    "MiniGrid-MemoryS7-v0, 16": "env --env MiniGrid-MemoryS7-v0 --repeats 20",
}
FULL = {
    "update, width 64, compiled": "update --compile",
    "update, width 64, bf16, compiled": "update --precision bf16 --compile",
    "update, width 128, bf16, compiled": "update --width 128 --heads 8 --precision bf16 --compile",
    "act, 16 environments, compiled": "act --compile",
    "act, 16 environments, context 128, compiled": "act --context 128 --compile",
    "act, 16 environments, context 128, onnxruntime": "act --context 128 --backend onnxruntime",
    "draw 32 windows from 1,000,000 steps": "replay --steps 1000000",
    "draw 32 windows from 1,000,000 steps by priority": "replay --steps 1000000 --priority 0.6",
    **{f"update, context {n}": f"update --context {n} --batch {1600 // n}" for n in (25, 100, 200, 400)},
    **{f"update, width {n}": f"update --width {n} --heads {max(4, n // 16)}" for n in (32, 256)},
    **{f"act, {n} environments": f"act --envs {n}" for n in (4, 64, 256)},
    **{f"act, context {n}": f"act --context {n}" for n in (25, 100, 200, 400)},
    **{f"draw from {n:,} steps": f"replay --steps {n}" for n in (10_000, 300_000, 3_000_000)},
}


def bench(arguments: str) -> dict[str, Any]:
    """Run `seqel bench ARGUMENTS --json` and return its output."""
    command = [sys.executable, "-m", "seqel", "bench", *arguments.split(), "--threads", "1", "--json"]
    return output(command)


def whole_loop() -> dict[str, Any]:
    """Run `whole_loop.py` in a process of its own and return its output."""
    command = [sys.executable, str(Path(__file__).with_name("whole_loop.py"))]
    return output(command)


def output(command: list[str]) -> dict[str, Any]:
    """Run a program with one thread and return the JSON that it prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    options = parser.parse_args()
    rows, began = {}, time.time()
    for name, arguments in (SHORT | (FULL if options.full else {})).items():
        rows[name] = found = bench(arguments)
        value = f"{found['ms']:10.3f} ms" if "ms" in found else " " * 13
        rate = f"{found['steps_per_s']:12,.0f} steps/s" if "steps_per_s" in found else ""
        print(f"{name:<52}{value}{rate}", flush=True)
    loop = whole_loop()
    print(f"{'first update, from starting Python':<52}{loop['seconds_to_the_first_update']:10.2f} s")
    print(f"{'the whole loop on T-Maze 50':<52}{loop['steps_per_s']:25,.0f} steps/s")
    RESULTS.mkdir(parents=True, exist_ok=True)
    record = {
        "command": " ".join(sys.argv),
        "commit": commit(),
        "seconds": time.time() - began,
        "rows": rows,
        "loop": loop,
    }
    path = RESULTS / ("full.json" if options.full else "short.json")
    path.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
