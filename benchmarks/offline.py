"""Training on recorded data of mixed quality, with each preset and behaviour cloning; peers are in peers/d3rlpy.

    taskset -c 1 python benchmarks/offline.py [--only cartpole ...] [--presets offline-cql] [--seeds 0 1 2 3 4]

The data are made by `offline_data.py` (one set per task); the seed is the learner's. Training takes at most 5,000 updates of
416 transitions, on one core; held-out episodes decide which weights are kept, as in any such run. The environment is only
used at the end: the agent then plays 100 fresh episodes. Each finished run is a JSON file, and is not run again.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

import seqel
from measured import commit
from offline_data import TASKS
from seqel.environments.resolve import resolve
from seqel.replay.in_memory_dataset import InMemoryDataset
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.types import Episode

RESULTS = Path(__file__).parent / "results" / "offline"
PRESETS = ("offline-cql", "behaviour-cloning")
COMMON: dict[str, Any] = {"threads": 1, "device": "cpu", "checkpoint_every": 0}
BUDGET: dict[str, Any] = {"offline.updates": 5_000, "offline.every": 500, "replay.batch_tokens": 416}
# A small tuning on seed 0, with episodes that no figure uses (docs/experiments.md); the peers were tuned in the same way
TUNED: dict[str, dict[str, Any]] = {
    "offline-cql": {
        "cartpole": {"objective.cql_alpha": 0.02},
        "acrobot": {
            "objective.cql_alpha": 0.02,
            "objective.lambda_": 0.5,
            "learner.target_rate": 0.05,
            "memoryless": True,
        },
        "memory-s7": {"objective.cql_alpha": 0.1, "learner.learning_rate": 5e-4, "learner.target_rate": 0.005},
    },
    "behaviour-cloning": {"acrobot": {"memoryless": True}},
}


def read(path: Path, env: Any) -> InMemoryDataset:
    """Read the episodes that `offline_data.py` wrote, in the environment's own spaces."""
    made = resolve(env)()
    observation, action = ObservationSpec.from_space(made.observation_space), ActionSpec.from_space(made.action_space)
    made.close()
    data = dict(np.load(path))
    length, terminated = data["length"], data["terminated"]
    ends = np.cumsum(length)
    episodes = []
    for number, (end, steps) in enumerate(zip(ends.tolist(), length.tolist(), strict=True)):
        first = end - steps + number  # N + E observations: each episode before has one more than it has steps
        seen = {leaf.path: data[f"observation/{leaf.path}"][first : first + steps + 1] for leaf in observation.leaves}
        part = slice(end - steps, end)
        episodes.append(
            Episode(
                seen, data["action"][part, None], data["reward"][part],
                terminated=bool(terminated[number]), truncated=not terminated[number],
                behaviour_prob=data["behaviour_prob"][part],
            )
        )  # fmt: skip
    return InMemoryDataset.of(episodes, observation, action)


def run(name: str, data: Path, preset: str, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Train, then play."""
    env = TASKS[name].env
    sessions = read(data, env)
    given = BUDGET | TUNED.get(preset, {}).get(name, {}) | settings
    chosen = COMMON | given
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        agent = seqel.train(
            data=sessions, seed=seed, out=Path(folder) / "run", preset=preset, settings=chosen, progress=False
        )
        seconds = time.perf_counter() - began
        records = [json.loads(line) for line in (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()]
    result = seqel.evaluate(agent, env, 100, seed=10_000)
    return {
        "task": name, "preset": preset, "seed": seed, "settings": given, "mean": result.mean,
        "interval": result.interval, "success": result.success, "seconds": seconds, "updates": records[-1]["updates"],
        "best_at": cast(Any, agent.info["validation"])["updates"], "held_out": records[-1]["validation"],
        "commit": commit(), "versions": {"python": platform.python_version(), "torch": torch.__version__}, "threads": 1,
    }  # fmt: skip


def once(path: Path, kept: bool, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the result stored at `path`, or run and store it there; if it is not `kept`, run it again."""
    if kept and path.exists():
        found: dict[str, Any] = json.loads(path.read_text())
        return found
    found = make()
    if kept:
        path.write_text(json.dumps(found, indent=1) + "\n")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--data", type=Path, default=Path("runs/offline-data"))
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="on top of the preset; not kept")
    options = parser.parse_args()
    settings: dict[str, Any] = dict(one.split("=", 1) for one in options.set)
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        for preset in options.presets:
            for seed in options.seeds:
                path = RESULTS / f"{name}-{preset}-seed{seed}.json"
                file = options.data / f"{name}-seed0.npz"
                found = once(path, not settings, partial(run, name, file, preset, seed, settings))
                print(
                    f"{name:<18}{preset:<20}seed {seed}  mean {found['mean']:9.3f}  {found['seconds']:5.0f} s  best at "
                    f"{found['best_at']:,}  {' '.join(options.set)}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
