"""A Q-network that watches opinions, beside the detectors of `opinion_detectors.py`, at the same number of false alarms.

    SEQEL_DATA=/folder/of/data python benchmarks/opinion_agents.py [--setting full] [--seeds 0] [--steps 400000] [--table]

The agent is trained in the environment on streams of training sentences; it reads them through the frozen all-MiniLM-L6-v2.
Its number after each message is Q(alert) - Q(wait), whose threshold is set on calm streams of validation sentences, as for
the detectors; the streams are the same. One JSON file per seed in benchmarks/results/opinion-agents/; an interrupted
training continues.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import seqel
from measured import commit, measured
from opinion_detectors import HOURS, ONSET, SETTINGS, streams
from seqel.evaluation.statistics import bootstrap_interval
from seqel.runs.run_config import CONFIG
from seqel.tasks.opinion.measures import hours_between_false_alarms, measure, threshold_for
from seqel.tasks.opinion.monitoring import OpinionMonitoring
from seqel.tasks.opinion.sentences import SPLITS, Split, read_opinions
from seqel.tasks.opinion.stream import Stream
from seqel.watching.calibration import numbers_of
from text_choice import MODEL

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "opinion-agents"
TRAINING: dict[str, Any] = {
    "text.encoder": "pretrained", "text.model": MODEL, "text.length": 64, "network.width": 64, "network.layers": 2,
    "network.context": 256, "network.previous_reward": False, "exploration.novelty": 0.0, "validation.episodes": 200,
    "threads": 1, "device": "cpu",
}  # fmt: skip


def show(record: Any) -> None:
    """Print a validation."""
    if record.validation is not None:
        print(
            f"{record.steps:,} steps {record.seconds:.0f} s: {record.validation.mean:.3f}", file=sys.stderr, flush=True
        )


def run(setting: str, seed: int, steps: int, budget: float) -> dict[str, Any]:
    opinions = read_opinions(
        next((Path(os.environ["SEQEL_DATA"]) / "financial-phrasebank").glob("*.csv")), encoding="latin-1"
    )
    make = partial(OpinionMonitoring, opinions, "train", SETTINGS[setting])
    folder, began = HERE.parent / "runs" / f"opinion-{setting}-{seed}", time.perf_counter()
    if (folder / CONFIG).exists():
        agent = seqel.resume(folder, env=make, progress=show)
    else:
        agent = seqel.train(make, steps=steps, seed=seed, settings=TRAINING, out=folder, progress=show)
    seconds = time.perf_counter() - began
    calm = {split: streams(setting, split, np.inf, seed)[0] for split in SPLITS[1:]}
    struck = streams(setting, "test", ONSET, seed)[0]

    def numbers(split: Split, some: list[Stream]) -> list[NDArray[np.float64]]:
        return numbers_of(agent, opinions, split, SETTINGS[setting], some, HOURS)

    threshold = threshold_for(budget, calm["validation"], numbers("validation", calm["validation"]), HOURS)
    between = hours_between_false_alarms(calm["test"], numbers("test", calm["test"]), threshold, HOURS)
    alerts = measure(struck, numbers("test", struck), threshold, HOURS)
    return {
        "setting": setting, "seed": seed, "budget": budget, "steps": steps, "seconds": seconds, "commit": commit(),
        "delay": alerts.mean, "interval": bootstrap_interval(alerts.delays), "missed": alerts.missed / len(alerts.delays),
        "between": between, "crises": len(alerts.delays), "threshold": threshold,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", nargs="+", choices=SETTINGS, default=["full"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, default=400_000)
    parser.add_argument("--budget", type=float, default=500.0, help="company-hours per false alarm")
    parser.add_argument("--table", action="store_true", help="print the finished runs instead of running any")
    given = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    print("| setting | seed | steps | delay, hours (95 %) | missed | hours between false alarms |\n" + "|---" * 6 + "|")
    for setting in given.setting:
        for seed in given.seeds:
            path = RESULTS / f"{setting}-seed{seed}.json"
            one = measured(path, given.table, partial(run, setting, seed, given.steps, given.budget))
            if one is not None:
                low, high = one["interval"]
                print(
                    f"| {setting} | {seed} | {one['steps']:,} | {one['delay']:.1f} ({low:.1f} to {high:.1f}) | "
                    f"{one['missed']:.1%} | {one['between']:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
