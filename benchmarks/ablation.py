"""What each part of the default contributes: the default without it, on four tasks.

    python benchmarks/ablation.py [--seeds 0 1 2] [--only VARIANT ...] [--table]

Four development tasks of `one_default.py`, with fewer steps. A run ends when its threshold is confirmed. Each finished run is
a JSON file in benchmarks/results/ablation/ and is not run again; `--table` prints what is there. All variants and seeds
take about five hours of one core.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import one_default

RESULTS = Path(__file__).parent / "results" / "ablation"

# name: the most environment steps, and the mean return that ends a run
TASKS = {
    "recall3": (40_000, 0.97),
    "repeat-previous-hard": (100_000, 0.97),
    "tmaze100": (80_000, 0.99),
    "acrobot": (60_000, -100.0),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "Peng's trace": {"objective.trace": "peng"},
    "one-step targets": {"objective.lambda_": 0.0},
    "slow target network": {"learner.target_rate": 0.01},
    "large batches": {"replay.batch_tokens": 1_664},
    "latest weights": {"learner.average_rate": 1.0},
    "no novelty": {"exploration.novelty": 0.0},
    "no count bonus": {"exploration.bonus": 0.0},
    "no clock": {"network.clock": False},
}


def file_of(task: str, variant: str, seed: int) -> Path:
    return RESULTS / f"{task}-{variant.replace(' ', '-').replace(chr(39), '')}-seed{seed}.json"


def cell(task: str, variant: str, seeds: list[int]) -> str:
    """Return steps to the threshold in thousands, or the best return of a run that did not reach it; one entry per seed."""
    out = []
    for seed in seeds:
        path = file_of(task, variant, seed)
        if path.exists():
            found = json.loads(path.read_text())
            reached = found["mean"] >= TASKS[task][1] and found["steps"] < TASKS[task][0]
            out.append(f"{found['steps'] / 1_000:.0f}" if reached else f"({found['mean']:.2f})")
    return "; ".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT")
    parser.add_argument("--table", action="store_true", help="print the finished runs instead of running any")
    given = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name, (steps, threshold) in TASKS.items():
        one_default.ALL[name] = dataclasses.replace(one_default.ALL[name], steps=steps, threshold=threshold)
    if not given.table:
        for seed in given.seeds:  # a table of one seed is complete before the next one begins
            for variant in given.only:
                for task in TASKS:
                    path = file_of(task, variant, seed)
                    if not path.exists():
                        found = one_default.run(task, seed, "default", VARIANTS[variant])
                        path.write_text(json.dumps(found, indent=1) + "\n")
    print("| without | " + " | ".join(TASKS) + " |\n|---|" + "---|" * len(TASKS))
    for variant in given.only:
        print(f"| {variant} | " + " | ".join(cell(task, variant, given.seeds) for task in TASKS) + " |")


if __name__ == "__main__":
    main()
