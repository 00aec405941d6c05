"""A game with image observations: half an hour of training on one core, the same as for Stable-Baselines3 DQN.

    taskset -c 1 python benchmarks/pixels.py [--env MinAtar/Breakout-v1] [--seconds 1800] [--seed 0]

Each finished run is a JSON file in benchmarks/results/pixels/, with the learning curve, and is not run again. Needs minatar.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import seqel
from measured import commit
from seqel.profiling.timing import machine
from seqel.training.record import Record
from version_01 import PRESETS

RESULTS = Path(__file__).parent / "results" / "pixels"

# steps: the length of the learning-rate schedule, about what half an hour allows. Everything is visible in these games
# (moving things leave a trail), and the peer has no history either, so there is none here.
PRESET = "control"  # of version 0.1
SETTINGS: dict[str, Any] = {"steps": 800_000, "memoryless": True}


class TimeIsUp(Exception):
    """Raised by the callback to end a run."""


def train(env: str, seconds: float, seed: int, out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Train for `seconds` (validation not counted) with 20 validations, then play fresh episodes."""
    curve: list[dict[str, float]] = []
    best: Record | None = None

    def watch(record: Record) -> None:
        nonlocal best
        if record.validation is not None:
            curve.append({"seconds": record.seconds, "steps": record.steps, "mean": record.validation.mean})
            print(
                f"{env}: {record.steps:,} steps {record.seconds:.0f} s  return {record.validation.mean:.2f}", flush=True
            )
        best = record
        if record.seconds >= seconds:
            raise TimeIsUp

    began = time.perf_counter()
    with contextlib.suppress(TimeIsUp):
        seqel.train(env, seed=seed, out=out, settings=PRESETS[PRESET] | settings, progress=watch)
    assert best is not None
    agent = seqel.Agent.load(out)
    result = seqel.evaluate(agent, env, 100, seed=10_000)
    return {
        "env": env, "seed": seed, "preset": PRESET, "settings": settings, "mean": result.mean, "interval": result.interval,
        "steps": best.steps, "seconds": best.seconds, "steps_per_s": best.steps / best.seconds, "updates": best.updates,
        "wall_seconds": time.perf_counter() - began, "curve": curve, "commit": commit(), "machine": machine(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="MinAtar/Breakout-v1")
    parser.add_argument("--seconds", type=float, default=1800.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{options.env.replace('/', '-')}-seed{options.seed}.json"
    if not path.exists():
        settings = SETTINGS | {"threads": 1, "device": "cpu", "checkpoint_every": 0, "validation.episodes": 20}
        with tempfile.TemporaryDirectory() as folder:
            found = train(options.env, options.seconds, options.seed, Path(folder) / "run", settings)
        path.write_text(json.dumps(found, indent=1) + "\n")
    found = json.loads(path.read_text())
    print(f"{options.env}: {found['mean']:.2f} after {found['steps']:,} steps, {found['steps_per_s']:.0f} steps/s")


if __name__ == "__main__":
    main()
