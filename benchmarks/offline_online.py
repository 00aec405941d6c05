"""From recorded data to an environment: does the agent keep its performance at the switch, and improve afterwards?

    taskset -c 1 python benchmarks/offline_online.py [--only cartpole-hidden ...] [--seeds 0 1 2] [--data runs/offline-data]

An agent is trained on the data of `offline_data.py` (preset `offline-cql`, as in `offline.py`), then continues with the
environment and the data together (preset `offline-online`). Every 1,000 steps three returns are recorded: that of the
incumbent, which acts and is saved (50 greedy episodes on seeds that nothing else uses); that of the last hundred training
episodes, including exploration and the challenger; and, at validations, that of the learner itself. Before and after: 100
fresh episodes. Results: results/offline-online/*.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, cast

import seqel
from measured import commit
from offline import BUDGET, COMMON, TUNED, once, read
from offline_data import TASKS
from seqel.agents import artifact
from seqel.training.record import Record

RESULTS = Path(__file__).parent / "results" / "offline-online"
# values have to have arrived before the switch; no clock, because episodes become ten times as long (docs/experiments.md)
BEFORE: dict[str, Any] = {"learner.target_rate": 0.05}
OFFLINE: dict[str, dict[str, Any]] = {"cartpole-hidden": {"network.clock": False}}
ONLINE: dict[str, dict[str, Any]] = {
    "acrobot": {  # as learned from scratch (learn.py): many small updates, what is tried is held
        "replay.batch_tokens": 416, "replay.replay_ratio": 64.0, "replay.priority_exponent": 0.6,
        "learner.learning_rate": 5e-4, "objective.lambda_": 0.5, "exploration.duration_exponent": 2.0,
        "exploration.bonus": 0.02,
    },
}  # fmt: skip
STEPS, EVERY = 60_000, 1_000
HELD = 20_000  # steps after the switch in which performance must not drop
SERVED_SEED, SERVED_EPISODES = 40_000, 50


class Curves:
    """Records the returns during a run; called with each of its records."""

    def __init__(self, env: Any, kept: Path) -> None:
        self.env, self.kept, self.since = env, kept, -1
        self.served: list[tuple[int, float]] = []
        self.live: list[tuple[int, float]] = []
        self.learner: list[tuple[int, float]] = []

    def __call__(self, record: Record) -> None:
        since = cast(Any, artifact.info(self.kept)["validation"])["steps"]
        mean = self.served[-1][1] if since == self.since else self._earns(seqel.Agent.load(self.kept))
        self.since = since
        self.served.append((record.steps, mean))
        if "return" in record.metrics:
            self.live.append((record.steps, record.metrics["return"]))
        if record.validation is not None:
            self.learner.append((record.steps, record.validation.mean))

    def _earns(self, agent: seqel.Agent) -> float:
        return seqel.evaluate(agent, self.env, SERVED_EPISODES, seed=SERVED_SEED).mean


def run(name: str, data: Path, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Train on the data, then continue in the environment."""
    env, sessions = TASKS[name].env, read(data / f"{name}-seed0.npz", TASKS[name].env)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        began = time.perf_counter()
        offline = COMMON | BUDGET | BEFORE | TUNED["offline-cql"].get(name, {}) | OFFLINE.get(name, {})
        before = seqel.train(
            data=sessions, seed=seed, out=out / "offline", preset="offline-cql", settings=offline, progress=False
        )
        offline_seconds, began = time.perf_counter() - began, time.perf_counter()
        curves = Curves(env, out / "online" / "agent")
        online = COMMON | {"log_every": EVERY} | ONLINE.get(name, {}) | settings
        after = seqel.train(
            env, init_from=out / "offline", data=sessions, steps=STEPS, seed=seed, out=out / "online",
            preset="offline-online",
            settings=online, progress=curves,
        )  # fmt: skip
        seconds = time.perf_counter() - began
    return {
        "task": name, "seed": seed, "before": seqel.evaluate(before, env, 100, seed=10_000).mean,
        "after": seqel.evaluate(after, env, 100, seed=10_000).mean, "served": curves.served, "live": curves.live,
        "learner": curves.learner, "served_before": curves.served[0][1],
        "served_lowest": min(mean for steps, mean in curves.served if steps <= HELD),
        "offline_seconds": offline_seconds, "online_seconds": seconds, "settings": ONLINE.get(name, {}) | settings,
        "commit": commit(),
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
                f"{name:<16}seed {seed}  offline {found['before']:8.3f}  after {STEPS:,} steps {found['after']:8.3f}  "
                f"what acts: at first {found['served_before']:8.3f}, lowest of the first {HELD:,} "
                f"{found['served_lowest']:8.3f}  {found['online_seconds']:.0f} s",
                flush=True,
            )
            if settings:
                for curve in ("served", "live", "learner"):
                    print(f"  {curve:<8}", " ".join(f"{steps:,}:{mean:.4g}" for steps, mean in found[curve]))


if __name__ == "__main__":
    main()
