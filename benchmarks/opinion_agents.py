"""A Q-network that watches opinions, beside the detectors of `opinion_detectors.py`, at the same number of false alarms.

    SEQEL_DATA=/folder/of/data python benchmarks/opinion_agents.py [--setting full] [--seeds 0] [--table]

It learns offline from recorded streams of training sentences, in which a rule gave the alerts: CUSUM with a threshold of its
own for each stream, at random near it and rarely anywhere. It reads each sentence as the log-probabilities of the sentiments
(`text.classes`, on the frozen all-MiniLM-L6-v2), as the detectors do. Its number after each message is Q(alert) - Q(wait),
whose threshold is set on calm streams of validation sentences, as for the detectors; the streams are the same. One JSON file
per seed in benchmarks/results/opinion-agents/; an interrupted training continues.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from measured import commit, measured, train_or_resume
from opinion_detectors import BUDGETS, HEADER, HOURS, ONSET, SETTINGS, figures, row, streams
from seqel.tasks.opinion.metrics import threshold_for
from seqel.tasks.opinion.monitoring import Costs, OpinionMonitoring
from seqel.tasks.opinion.sentences import SPLITS, Split, read_opinions
from seqel.tasks.opinion.stream import Stream, part_of
from seqel.texts.config import TextConfig
from seqel.texts.make import make_class_reader
from seqel.watching.calibration import numbers_of
from seqel.watching.recording import record_streams
from text_choice import MODEL

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "opinion-agents"
LASTS, CRISES = 192.0, 0.7  # hours of a recorded stream; share with a crisis
# Cost of an hour of delay in the recorded streams, twelve times that of `Costs`. The order of Q(alert) - Q(wait) stays the
# same, but each message teaches the network how probable a crisis is, not only the few at which an alert was given.
LATE = -0.5
GROUP, ROWS = 4, 400  # companies that may be related; streams that are read at once
TRAINING: dict[str, Any] = {
    "network.width": 64, "network.layers": 2, "network.heads": 2, "network.context": 256, "network.previous_reward": False,
    "objective.discount": 0.0, "objective.cql_alpha": 0.0, "replay.batch_tokens": 2_048, "validation.every": 500,
    "threads": 1, "device": "cpu",
}  # fmt: skip


def groups_of(some: list[Stream]) -> list[tuple[int, NDArray[np.int64], Stream]]:
    """Split streams into those of related companies, which share a row of the agent's memory as in `seqel watch`.

    Returns the number of the stream, the places of its messages, and the stream of each group.
    """
    found = []
    for number, stream in enumerate(some):
        left = list(range(len(stream.onset)))
        while left:
            group = [left[0], *(other for other in left[1:] if stream.related[left[0], other])]
            left = [one for one in left if one not in group]
            found.append((number, *part_of(stream, group)))
    return found


def run(setting: str, seed: int, count: int, updates: int, budget: float, changes: dict[str, Any]) -> dict[str, Any]:
    opinions = read_opinions(
        next((Path(os.environ["SEQEL_DATA"]) / "financial-phrasebank").glob("*.csv")), encoding="latin-1"
    )
    related = replace(SETTINGS[setting], companies=min(GROUP, SETTINGS[setting].companies), crises=CRISES)
    began = time.perf_counter()
    env = OpinionMonitoring(opinions, "train", related, Costs(delay=LATE), hours=LASTS)
    reader = make_class_reader(TextConfig(encoder="pretrained", model=MODEL, length=64), env.labelled_texts())
    data = record_streams(env, reader, count, seed)
    prepared, steps = time.perf_counter() - began, int(data.buffer.lengths.sum())
    print(f"{count} streams, {steps:,} messages, {prepared:.0f} s", file=sys.stderr, flush=True)
    folder = HERE.parent / "runs" / f"opinion-{setting}-{seed}"
    agent = train_or_resume(
        folder, data=data, steps=updates, seed=seed, preset="offline-cql", settings=TRAINING | changes
    )
    seconds = time.perf_counter() - began
    calm = {split: streams(setting, split, np.inf, seed)[0] for split in SPLITS[1:]}
    struck = streams(setting, "test", ONSET, seed)[0]

    def numbers(split: Split, some: list[Stream]) -> list[NDArray[np.float64]]:
        groups, found = groups_of(some), [np.zeros(len(one.time)) for one in some]
        for start in range(0, len(groups), ROWS):
            part = groups[start : start + ROWS]
            each = numbers_of(agent, opinions, split, related, [stream for _, _, stream in part], HOURS)
            for (number, places, _), values in zip(part, each, strict=True):
                found[number][places] = values
        return found

    threshold = threshold_for(budget, calm["validation"], numbers("validation", calm["validation"]), HOURS)
    on_test = figures(threshold, calm["test"], numbers("test", calm["test"]), struck, numbers("test", struck))
    return {
        "setting": setting, "seed": seed, "budget": budget, "streams": count, "messages": steps, "updates": updates,
        "settings": changes, "prepared": prepared, "seconds": seconds, "commit": commit(),
        **on_test,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", nargs="+", choices=SETTINGS, default=["full", "textbook"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--streams", type=int, help="recorded streams (6,000; textbook: 12,000)")
    parser.add_argument("--updates", type=int, default=15_000)
    parser.add_argument("--budget", type=float, default=500.0, help="company-hours per false alarm")
    parser.add_argument("--set", nargs="+", default=[], metavar="SETTING=VALUE", help="changes to the settings")
    parser.add_argument("--table", action="store_true", help="print the finished runs instead of running any")
    given = parser.parse_args()
    changes = {key: json.loads(value) for key, _, value in (one.partition("=") for one in given.set)}
    RESULTS.mkdir(parents=True, exist_ok=True)
    print(f"| setting | seed | updates | {HEADER}\n" + "|---" * (7 + 2 * len(BUDGETS)) + "|")
    for setting in given.setting:
        count = given.streams or (12_000 if setting == "textbook" else 6_000)
        for seed in given.seeds:
            path = RESULTS / f"{setting}-seed{seed}.json"
            one = measured(path, given.table, partial(run, setting, seed, count, given.updates, given.budget, changes))
            if one is not None:
                print(f"| {setting} | {seed} | {one['updates']:,} | {row(one)} |", flush=True)


if __name__ == "__main__":
    main()
