"""A limit of costs: `objective.cost_limit` beside an agent without one and agents with a fixed penalty, on Courier.

    python benchmarks/constraint.py [--limit 3] [--steps 60000] [--seeds 0 1 2 3 4] [--table]

The best mean reward within any limit is known (`seqel.tasks.courier.best_within`). A fixed penalty is subtracted from the
reward for each unit of cost; which penalty keeps a limit has to be found by trying. Each agent plays 1,000 fresh greedy
episodes. One JSON file per run in benchmarks/results/constraint/; finished ones are not run again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import seqel
from measured import commit, measured
from seqel.tasks.courier import best_within

RESULTS = Path(__file__).parent / "results" / "constraint"
PENALTIES = (0.5, 1.0, 1.5, 2.0)
TASK = "seqel/Courier-v0"


class Penalised(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Subtracts `penalty` times the cost from the reward."""

    def __init__(self, penalty: float) -> None:
        super().__init__(gymnasium.make(TASK))
        self.penalty = penalty

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, float(reward) - self.penalty * info["cost"], terminated, truncated, info


def run(method: str, limit: float, steps: int, seed: int) -> dict[str, Any]:
    settings: dict[str, Any] = {"threads": 1, "device": "cpu"}
    env: Any = TASK
    if method == "limit":
        settings["objective.cost_limit"] = limit
    elif method.startswith("penalty"):
        env = partial(Penalised, float(method.split()[1]))
    else:
        settings["objective.cost_limit"] = -1.0
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        agent = seqel.train(env, steps=steps, seed=seed, out=folder, settings=settings)
    seconds = time.process_time() - began
    found = seqel.evaluate(agent, TASK, episodes=1_000)
    assert found.cost is not None
    return {
        "method": method, "limit": limit, "steps": steps, "seed": seed, "seconds": seconds, "commit": commit(),
        "reward": found.mean, "interval": found.interval, "cost": found.cost, "cost_interval": found.cost_interval,
        "best_at_this_cost": best_within(found.cost).reward, "multiplier": agent.cost_multiplier,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=float, default=3.0, help="mean cost per episode")
    parser.add_argument("--steps", type=int, default=60_000)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--table", action="store_true", help="print the finished runs instead of running any")
    given = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    best = best_within(given.limit)
    print(
        f"limit {given.limit}: the best policy earns {best.reward:.2f} and hurries where gain >= {best.price:.2f} x risk\n"
    )
    print("| agent | seed | reward (95 %) | cost (95 %) | best reward at this cost | multiplier |\n" + "|---" * 6 + "|")
    for method in ("limit", "none", *(f"penalty {one}" for one in PENALTIES)):
        rows = []
        for seed in given.seeds:
            path = RESULTS / f"{method.replace(' ', '-')}-{given.limit:g}-seed{seed}.json"
            one = measured(path, given.table, partial(run, method, given.limit, given.steps, seed))
            if one is not None:
                rows.append(one)
                price = "" if one["multiplier"] is None else f"{one['multiplier']:.2f}"
                print(
                    f"| {method} | {seed} | {one['reward']:.2f} ({one['interval'][0]:.2f} to {one['interval'][1]:.2f}) | "
                    f"{one['cost']:.2f} ({one['cost_interval'][0]:.2f} to {one['cost_interval'][1]:.2f}) | "
                    f"{one['best_at_this_cost']:.2f} | {price} |",
                    flush=True,
                )
        if len(rows) > 1:
            reward, cost = (np.array([one[name] for one in rows]) for name in ("reward", "cost"))
            there = best_within(float(cost.mean())).reward
            print(
                f"| {method} | {len(rows)} seeds | {reward.mean():.2f} ({reward.min():.2f} to {reward.max():.2f}) | "
                f"{cost.mean():.2f} ({cost.min():.2f} to {cost.max():.2f}) | {there:.2f} | |",
                flush=True,
            )


if __name__ == "__main__":
    main()
