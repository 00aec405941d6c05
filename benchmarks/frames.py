"""A million steps of 84 x 84 frames in the replay: memory use and sampling time, in memory and in files.

    taskset -c 1 python benchmarks/frames.py [--steps 1000000] [--directory runs]

Each variant runs in a process of its own; one needs 8 GiB of memory, the other 8 GiB of disk. The results are written to
benchmarks/results/frames/frames.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from measured import commit
from seqel.replay.buffer import Replay
from seqel.types import Episode

RESULTS = Path(__file__).parent / "results" / "frames"
EPISODE = 1_000  # transitions


def resident() -> dict[str, float]:
    """Return the resident memory of this process in GiB: now, and the peak."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(lines[key].split()[0]) / (1 << 20) for name, key in (("now", "VmRSS"), ("most", "VmHWM"))}


def measure(steps: int, directory: str | None) -> dict[str, Any]:
    """Fill, then draw 32 windows of 50 (10 of them burn-in)."""
    rng = np.random.default_rng(0)
    shape, dtype = (84, 84), np.dtype(np.uint8)
    capacity = steps + steps // EPISODE
    where = Path(directory) if directory else None
    replay = Replay({"observation": (shape, dtype)}, capacity, actions=6, context=10, directory=where)
    frames = rng.integers(0, 256, (EPISODE + 1, *shape), dtype=np.uint8)
    action, reward = rng.integers(0, 6, (EPISODE, 1)), rng.standard_normal(EPISODE).astype(np.float32)
    before, began = resident()["now"], time.perf_counter()
    for _ in range(steps // EPISODE):
        replay.add(Episode({"observation": frames}, action, reward, terminated=True))
    filling = time.perf_counter() - began
    taken = []
    for _ in range(600):
        began = time.perf_counter()
        replay.sample(32, window=50, context=10, discount=0.99, rng=rng)
        taken.append(1e3 * (time.perf_counter() - began))
    return {
        "where": "files" if directory else "memory",
        "transitions": len(replay),
        "replay_gib": replay.nbytes / (1 << 30),
        "resident_gib": resident()["now"],
        "resident_most_gib": resident()["most"],
        "resident_before_gib": before,
        "draw_ms": statistics.median(taken),
        "draw_ms_p95": sorted(taken)[int(0.95 * len(taken))],
        "added_steps_per_s": steps / filling,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--directory", default="runs", help="on a disk with 8 GiB of room")
    parser.add_argument("--one", choices=["memory", "files"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.steps, options.directory if options.one == "files" else None)))
        return
    rows = []
    for one in ("memory", "files"):
        command = [
            sys.executable,
            __file__,
            "--one",
            one,
            "--steps",
            str(options.steps),
            "--directory",
            options.directory,
        ]
        rows.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        print(json.dumps(rows[-1], indent=1), flush=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    record = {"command": " ".join(sys.argv), "commit": commit(), "rows": rows}
    (RESULTS / "frames.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
