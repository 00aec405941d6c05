"""How well one set of defaults learns: development tasks to choose it on, test tasks to judge it by.

    python benchmarks/one_default.py [--only recall3 ...] [--seeds 0 1] [--tag NAME] [--set NAME=VALUE ...] [--list]

A run ends when its threshold is confirmed, or when its environment steps or its minutes are used up. Then fresh episodes are
played with the best weights (those that a user keeps) and with the last ones. Each finished run is a JSON file in
benchmarks/results/one-default/TAG/ and is not run again. `--set` changes settings for an experiment.

The development tasks were chosen before the first experiment (docs/experiments.md); the test tasks are for the chosen
default alone.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch

import seqel
from learn import HiddenVelocities
from measured import commit
from seqel.training.record import Record

RESULTS = Path(__file__).parent / "results" / "one-default"


@dataclass(frozen=True)
class Task:
    """A task with its budget."""

    env: str | Callable[[], gym.Env[Any, Any]]
    steps: int
    every: int  # environment steps between validations
    threshold: float = math.inf  # mean return that ends the run once it is confirmed
    episodes: int = 100  # fresh episodes reported
    minutes: float = 30.0  # of training


def popgym(name: str, steps: int = 2_000_000, threshold: float = math.inf) -> Task:
    """Return a POPGym task with as many steps as half an hour of one core is enough for in most of them."""
    return Task(f"popgym-{name}-v0", steps, 50_000, threshold)


DEVELOPMENT = {
    "tmaze100": Task("seqel/TMaze100-v0", 120_000, 5_000, 0.99),
    "recall3": Task("seqel/RecallColour-v0", 60_000, 5_000, 0.97, 200),
    "position-only-cartpole-easy": Task("popgym-PositionOnlyCartPoleEasy-v0", 100_000, 5_000, 0.995),
    "repeat-previous-hard": Task("popgym-RepeatPreviousHard-v0", 400_000, 20_000, 0.97),
    "autoencode-easy": Task("popgym-AutoencodeEasy-v0", 2_000_000, 50_000, 0.97),
    "memory-s7": Task("MiniGrid-MemoryS7-v0", 400_000, 10_000, 0.94, 200),
    "cartpole": Task("CartPole-v1", 100_000, 5_000),
    "acrobot": Task("Acrobot-v1", 100_000, 5_000),
}
LEVELS = ("Easy", "Medium", "Hard")
# the best of the 13 models of Morad et al. 2023, arXiv:2303.01859, with PPO for 15 million steps: Easy, Medium, Hard
BEST_OF_13 = {
    "Autoencode": (-0.283, -0.420, -0.448),
    "CountRecall": (0.509, -0.519, -0.470),
    "HigherLower": (0.529, 0.513, 0.509),
    "MultiarmedBandit": (0.631, 0.598, 0.574),
    "NoisyPositionOnlyCartPole": (0.995, 0.659, 0.404),
    "RepeatFirst": (1.0, 1.0, 0.969),
    "RepeatPrevious": (1.0, 0.789, 0.191),
    "PositionOnlyCartPole": (1.0, 1.0, 1.0),
}
SOLVABLE = ("RepeatFirst", "RepeatPrevious", "PositionOnlyCartPole")  # their largest return is 1
MARGIN = 0.02  # the other games end where they are this far above the best of 13: their largest return is not known


def cell(game: str, level: str) -> Task:
    """Return one of the 24 POPGym tasks."""
    best = BEST_OF_13[game][LEVELS.index(level)]
    return popgym(f"{game}{level}", threshold=0.999 if game in SOLVABLE else min(best + MARGIN, 0.998))


TEST = {
    **{f"{game}{level}": cell(game, level) for game in BEST_OF_13 for level in LEVELS},
    "recall8": Task("seqel/RecallColour8-v0", 60_000, 5_000, 0.97, 200),
    "recall30": Task("seqel/RecallColour30-v0", 60_000, 5_000, 0.97, 200),
    "cartpole-hidden": Task(HiddenVelocities, 100_000, 5_000, 490.0),
    "tmaze250": Task("seqel/TMaze250-v0", 1_000_000, 10_000, 0.99, 100, 120.0),
    "tmaze500": Task("seqel/TMaze500-v0", 3_000_000, 20_000, 0.99, 100, 120.0),
    "memory-s11": Task("MiniGrid-MemoryS11-v0", 600_000, 20_000, 0.95, 200, 60.0),
    "memory-s13": Task("MiniGrid-MemoryS13-v0", 600_000, 20_000, 0.95, 200, 60.0),
    "car-flag": Task("seqel/CarFlag-v0", 300_000, 5_000, 0.95),
    "memory-cards": Task("seqel/MemoryCards-v0", 400_000, 10_000, -6.5),
    "breakout": Task("MinAtar/Breakout-v1", 1_000_000, 20_000),
}
ALL = DEVELOPMENT | TEST


def run(name: str, seed: int, preset: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Train one task within its budget, then play fresh episodes with the best and with the last weights."""
    task = ALL[name]
    chosen = {
        "steps": task.steps, "validation.every": task.every, "validation.threshold": task.threshold,
        "validation.stop": math.isfinite(task.threshold), "threads": 1, "device": "cpu", "checkpoint_every": 0, **settings,
    }  # fmt: skip
    curve: list[tuple[int, float, float]] = []
    over = False  # whether the minutes are used up
    last: Record | None = None

    def watch(record: Record) -> None:
        nonlocal over, last
        last = record
        if record.validation is not None:
            curve.append((record.steps, round(record.seconds, 1), record.validation.mean))
            print(
                f"{name} seed {seed}: {record.steps:,} steps {record.seconds:.0f} s {curve[-1][2]:.3f}", file=sys.stderr
            )
        over = record.seconds > 60.0 * task.minutes
        if over:
            raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        try:
            seqel.train(task.env, seed=seed, out=out, preset=preset, settings=chosen, progress=watch)
        except KeyboardInterrupt:
            if not over:
                raise
        best = seqel.evaluate(seqel.Agent.load(out), task.env, task.episodes, seed=10_000)
        summary = json.loads((out / "summary.json").read_text()) if not over else {}  # an interrupted run has none
    assert last is not None
    return {
        "task": name, "seed": seed, "preset": preset, "settings": settings, "mean": best.mean, "interval": best.interval,
        "success": best.success, "episodes": task.episodes, "last_validation": curve[-1][2], "curve": curve,
        "steps": last.steps, "seconds": last.seconds, "updates": last.updates,
        "steps_to_threshold": summary.get("steps_to_threshold"), "commit": commit(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "gymnasium": gym.__version__},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=ALL, default=list(DEVELOPMENT), metavar="TASK")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--tag", default="default", help="folder of the results")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE")
    parser.add_argument("--list", action="store_true", help="show the tasks")
    given = parser.parse_args()
    if given.list:
        for kind, tasks in (("development", DEVELOPMENT), ("test", TEST)):
            print(f"{kind}: {', '.join(tasks)}")
        return
    settings = dict(one.split("=", 1) for one in given.set)
    folder = RESULTS / given.tag
    folder.mkdir(parents=True, exist_ok=True)
    for seed in given.seeds:
        for name in given.only:
            path = folder / f"{name}-seed{seed}.json"
            if not path.exists():
                path.write_text(json.dumps(run(name, seed, given.preset, settings), indent=1) + "\n")
            found = json.loads(path.read_text())
            print(
                f"{given.tag:24} {name:28} seed {seed}  best {found['mean']:8.3f}  last {found['last_validation']:8.3f}  "
                f"{found['steps']:>9,} steps {found['seconds']:6.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
