"""From recorded data on to an environment: does the agent hold what it learnt at the switch, and improve from there?

    taskset -c 1 python benchmarks/offline_online.py [--only cartpole-hidden ...] [--seeds 0 1 2] [--data runs/offline-data]

An agent learns from the data of `offline_data.py` (preset `offline-cql`, as in `offline.py`), then goes on with the
environment and the data together (preset `offline-online`). Every 1,000 steps 20 greedy episodes on seeds that are used for
nothing else say what it earns; before and after, 100 episodes on fresh seeds. Results: results/offline-online/*.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import seqel
from learn import commit
from offline import BUDGET, COMMON, once, read
from offline_data import TASKS

RESULTS = Path(__file__).parent / "results" / "offline-online"
ARRIVED = {"learner.target_rate": 0.05}  # values have to have arrived before the switch (docs/experiments.md)
STEPS = 60_000
HELD = 20_000  # steps after the switch in which nothing may be lost


def run(name: str, data: Path, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Learn from data, then go on."""
    env, sessions = TASKS[name].env, read(data / f"{name}-seed0.npz", TASKS[name].env)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        began = time.perf_counter()
        before = seqel.train(
            data=sessions,
            seed=seed,
            out=out / "offline",
            preset="offline-cql",
            settings=COMMON | BUDGET | ARRIVED,
            progress=False,
        )
        offline_seconds, began = time.perf_counter() - began, time.perf_counter()
        seqel.train(
            env, start=out / "offline", data=sessions, steps=STEPS, seed=seed, out=out / "online", preset="offline-online",
            settings=COMMON | {"evaluation.every": 1_000, "evaluation.episodes": 20} | settings, progress=False,
        )  # fmt: skip
        seconds = time.perf_counter() - began
        lines = [json.loads(line) for line in (out / "online" / "metrics.jsonl").read_text().splitlines()]
        after = seqel.Agent.load(out / "online")
    curve = [(line["steps"], line["validation"]["mean"]) for line in lines if "validation" in line]
    return {
        "task": name, "seed": seed, "before": seqel.evaluate(before, env, 100, seed=10_000).mean,
        "after": seqel.evaluate(after, env, 100, seed=10_000).mean, "curve": curve,
        "lowest": min(mean for steps, mean in curve if steps <= HELD), "offline_seconds": offline_seconds,
        "online_seconds": seconds, "settings": settings, "commit": commit(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TASKS, default=["cartpole-hidden"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--data", type=Path, default=Path("runs/offline-data"))
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="on top of the preset; not kept")
    options = parser.parse_args()
    settings: dict[str, Any] = dict(one.split("=", 1) for one in options.set)
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in options.only:
        for seed in options.seeds:
            path = RESULTS / f"{name}-seed{seed}.json"
            found = once(path, not settings, partial(run, name, options.data, seed, settings))
            print(
                f"{name:<18}seed {seed}  offline {found['before']:8.3f}  lowest of the first {HELD:,} steps "
                f"{found['lowest']:8.3f}  after {STEPS:,} steps {found['after']:8.3f}  {found['online_seconds']:.0f} s",
                flush=True,
            )
            if settings:
                print("  ", " ".join(f"{steps:,}:{mean:.4g}" for steps, mean in found["curve"]))


if __name__ == "__main__":
    main()
