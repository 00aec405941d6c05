"""Drift: false alarms in calm streams, and how many decisions an injected drift takes to be reported.

    python benchmarks/drift.py [--seeds 0 1 2] [--tasks cartpole table] [--only-read]

Two tasks: an agent on CartPole-v1 that is trained for seconds (long episodes, in which position and velocity change slowly),
and a table of recorded sessions that is drawn here (columns that are constant in a session, autocorrelated, independent;
categories; missing values). A reference is made of some episodes, and the streams consist of others: C sessions take turns,
and each plays whole episodes at random. Drift is injected into one feature after 4,000 calm decisions; the actions and values
stay those of the calm stream, so nothing but that feature can reveal it.
"""

from __future__ import annotations

import argparse
import copy
import csv
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import seqel
from measured import commit, measured
from seqel.environments.resolve import resolve
from seqel.monitoring.calibration import calm_rows
from seqel.monitoring.collect import Decisions, play_decisions, recorded_decisions
from seqel.monitoring.drift import FALSE_ALARMS, DriftMonitor
from seqel.training.sources import open_source, reencode_for_agent

RESULTS = Path(__file__).parent / "results" / "drift"
SMALL: dict[str, Any] = {
    "network.width": 32, "network.heads": 2, "network.layers": 1, "network.context": 16, "threads": 1, "device": "cpu",
    "learner.compile": "off", "checkpoint_every": 0,
}  # fmt: skip
CALM = 200_000  # decisions per level of concurrency
CONCURRENCY = (1, 16, 64)
BEFORE, AFTER = 4_000, 30_000  # decisions without drift, and with it, of a trial
BATCH = 16
TRIALS = 20  # per kind of drift and seed
Inject = Callable[[NDArray[np.float64], np.random.Generator], None]  # changes rows (N, F) in place


# -- the tasks -------------------------------------------------------------------------------------------------------------


def cartpole(seed: int, folder: Path) -> tuple[Decisions, Decisions]:
    """Return the decisions of 200 episodes for the reference, and of 500 others."""
    settings = SMALL | {"environments": 8, "validation.every": 3_000, "validation.episodes": 8}
    agent = seqel.train("CartPole-v1", steps=9_000, seed=seed, settings=settings, out=folder / "run", progress=False)
    make = resolve("CartPole-v1")
    return (
        play_decisions(agent, make, 200, 1_000_000 * seed, environments=64),
        play_decisions(agent, make, 500, 1_000_000 * seed + 500_000, environments=64),
    )


def write_table(path: Path, sessions: int, seed: int) -> None:
    """Write sessions of 5 to 60 steps of a service: who the customer is, what the load is, what is asked."""
    rng = np.random.default_rng((seed, sessions))
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["session", "step", "age", "plan", "load", "amount", "topic", "score", "offer", "gain"])
        for session in range(sessions):
            age, plan = int(rng.gamma(9.0, 5.0)), rng.choice(["free", "basic", "pro"], p=[0.6, 0.34, 0.06])
            load = rng.normal()
            for step in range(int(rng.integers(5, 61))):
                load = 0.95 * load + rng.normal() * np.sqrt(1 - 0.95**2)
                amount = rng.lognormal(3.0, 0.8)
                topic = rng.choice(["a", "b", "c", "d", "e"], p=[0.5, 0.25, 0.15, 0.06, 0.04])
                score = "" if rng.random() < 0.03 else f"{rng.normal():.4f}"
                offer = rng.choice(["none", "small", "large"])
                gain = float(rng.random() < 0.2 + 0.2 * (offer == "small") + 0.1 * (topic == "d"))
                rows.writerow([session, step, age, plan, f"{load:.4f}", f"{amount:.3f}", topic, score, offer, gain])


SCHEMA = """session = "session"
order = "step"
action = "offer"
reward = "gain"
[observation]
age = "number"
plan = "category"
load = "number"
amount = "number"
topic = "category"
score = "number"
"""


def table(seed: int, folder: Path) -> tuple[Decisions, Decisions]:
    """Return the decisions of an agent that reads 600 sessions, and 3,000 others."""
    for name, sessions in (("train", 600), ("live", 3_000)):
        write_table(folder / f"{name}.csv", sessions, seed)
    (folder / "schema.toml").write_text(SCHEMA, encoding="utf-8")
    settings = SMALL | {"offline.updates": 200, "offline.every": 100}
    agent = seqel.train(
        data=str(folder / "train.csv"), schema=folder / "schema.toml", preset="offline-cql", settings=settings, seed=seed,
        out=folder / "run", progress=False,
    )  # fmt: skip
    found = []
    for name in ("train", "live"):
        source = open_source(str(folder / f"{name}.csv"), agent.info["encoding"]["schema"])
        found.append(recorded_decisions(agent, reencode_for_agent(source, agent.info["encoding"]), 3_000, seed))
    return found[0], found[1]


# -- the drifts ------------------------------------------------------------------------------------------------------------


def shift(feature: int, by: float) -> Inject:
    def inject(rows: NDArray[np.float64], rng: np.random.Generator) -> None:
        rows[:, feature] += by

    return inject


def times_ten(feature: int) -> Inject:
    def inject(rows: NDArray[np.float64], rng: np.random.Generator) -> None:
        rows[:, feature] *= 10.0

    return inject


def missing(feature: int, share: float) -> Inject:
    def inject(rows: NDArray[np.float64], rng: np.random.Generator) -> None:
        rows[rng.random(len(rows)) < share, feature] = np.nan

    return inject


def marked_missing(feature: int, mark: int, share: float) -> Inject:
    """The same for a column of a table that was missing somewhere in the data: 0, with a mark beside it."""

    def inject(rows: NDArray[np.float64], rng: np.random.Generator) -> None:
        some = rng.random(len(rows)) < share
        rows[some, feature], rows[some, mark] = 0.0, 1.0

    return inject


def more_frequent(feature: int, code: float, share: float) -> Inject:
    """Make a category with this share three times as frequent."""

    def inject(rows: NDArray[np.float64], rng: np.random.Generator) -> None:
        others = rows[:, feature] != code
        rows[others & (rng.random(len(rows)) < 2 * share / (1 - share)), feature] = code

    return inject


def drifts(task: str, reference: Decisions) -> dict[str, tuple[int, Inject]]:
    """Return the drifts of a task: name -> the feature, and what changes it."""
    names, rows = reference.features.names, reference.rows
    found: dict[str, tuple[int, Inject]] = {}
    if task == "cartpole":
        numbers = {"position": 0, "velocity": 1, "angle": 2, "angular velocity": 3}
    else:
        numbers = {name: names.index(name) for name in ("age", "load", "amount", "score")}
    for name, feature in numbers.items():
        found[f"{name}: mean + 1 standard deviation"] = feature, shift(feature, float(np.nanstd(rows[:, feature])))
        found[f"{name}: times 10"] = feature, times_ten(feature)
        if f"{name} is missing" in names:
            mark = names.index(f"{name} is missing")
            found[f"{name}: 10 % more missing"] = mark, marked_missing(feature, mark, 0.1)
        else:
            found[f"{name}: 10 % missing"] = feature, missing(feature, 0.1)
    if task == "table":
        for name in ("topic", "plan"):
            feature = names.index(name)
            codes, often = np.unique(rows[:, feature], return_counts=True)
            share = often / often.sum()
            rare = int(np.argmin(np.abs(share - 0.06)))
            what = f"{name}: a category of {share[rare]:.0%} three times as frequent"
            found[what] = feature, more_frequent(feature, float(codes[rare]), float(share[rare]))
    return found


# -- measuring -------------------------------------------------------------------------------------------------------------


def fresh(monitor: DriftMonitor) -> DriftMonitor:
    """Return a monitor that has seen nothing, without calibrating it again."""
    return copy.deepcopy(monitor, {id(monitor.reference): monitor.reference})


def read(monitor: DriftMonitor, rows: NDArray[np.float64], sessions: int) -> list[Any]:
    found = []
    for start in range(0, len(rows), BATCH):
        found += monitor.update_rows(rows[start : start + BATCH], sessions=sessions)
    return found


def measure(task: str, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        reference, live = {"cartpole": cartpole, "table": table}[task](seed, Path(folder))
    begin = time.process_time()
    template = DriftMonitor(reference.reference())
    built = time.process_time() - begin
    found: dict[str, Any] = {
        "task": task, "seed": seed, "commit": commit(), "target_false_alarms": FALSE_ALARMS,
        "reference": {"episodes": len(reference.lengths), "decisions": len(reference.rows)},
        "live": {"episodes": len(live.lengths), "decisions": len(live.rows)},
        "features": reference.features.names, "seconds_to_build": round(built, 2),
    }  # fmt: skip
    calm: dict[str, Any] = {}
    for sessions in CONCURRENCY:
        rows = live.rows[calm_rows(live.lengths, sessions, CALM, np.random.default_rng((seed, sessions, 7)))]
        begin = time.process_time()
        alarms = read(fresh(template), rows, sessions)
        cost = (time.process_time() - begin) / len(rows)
        calm[str(sessions)] = {
            "decisions": len(rows), "false_alarms": len(alarms), "per_10_000": round(len(alarms) / len(rows) * 1e4, 3),
            "microseconds_per_decision": round(cost * 1e6, 2), "which": [f"{one.decision}: {one}" for one in alarms],
        }  # fmt: skip
        print(task, seed, sessions, calm[str(sessions)], flush=True)
    found["calm"] = calm
    found["delays"] = {str(sessions): delays(task, seed, template, reference, live, sessions) for sessions in (16, 64)}
    return found


def delays(
    task: str, seed: int, template: DriftMonitor, reference: Decisions, live: Decisions, sessions: int
) -> dict[str, Any]:
    found = {}
    for number, (name, (feature, inject)) in enumerate(drifts(task, reference).items()):
        any_alarm, named = [], []
        for trial in range(TRIALS):
            rng = np.random.default_rng((seed, sessions, number, trial))
            rows = live.rows[calm_rows(live.lengths, sessions, BEFORE + AFTER, rng)].copy()
            inject(rows[BEFORE:], rng)
            monitor = fresh(template)
            read(monitor, rows[:BEFORE], sessions)
            first = right = None
            for start in range(BEFORE, len(rows), BATCH):
                for one in monitor.update_rows(rows[start : start + BATCH], sessions=sessions):
                    first = one.decision - BEFORE if first is None else first
                    if one.feature == reference.features.names[feature]:
                        right = one.decision - BEFORE
                if right is not None:
                    break
            any_alarm.append(first)
            named.append(right)
        found[name] = {"reported": summary(any_alarm), "feature_named": summary(named)}
        print(task, seed, sessions, name, found[name], flush=True)
    return found


def summary(values: list[int | None]) -> dict[str, Any]:
    known = [one for one in values if one is not None]
    if not known:
        return {"trials": len(values), "missed": len(values)}
    median, high = np.quantile(known, [0.5, 0.9])
    return {
        "trials": len(values), "missed": len(values) - len(known), "median": int(median), "90%": int(high),
        "most": max(known),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tasks", nargs="+", default=["cartpole", "table"])
    parser.add_argument("--only-read", action="store_true")
    arguments = parser.parse_args()
    for task in arguments.tasks:
        for seed in arguments.seeds:
            measured(RESULTS / f"{task}-{seed}.json", arguments.only_read, partial(measure, task, seed))


if __name__ == "__main__":
    main()
