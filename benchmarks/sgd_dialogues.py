"""Recorded conversations as the only source: the task-oriented dialogues of the Schema-Guided Dialogue dataset.

    SEQEL_DATA=/folder/of/data python benchmarks/sgd_dialogues.py [--method NAME ...] [--seeds 0] [--table]

Each dialogue becomes a line for `convert_dialogues`, so this is also an example of how to prepare your own. The action of a
turn is the kind of what the system did (ask for a value, offer, confirm, inform, ...). The outcome is built from these acts,
because the dialogues have no other: 1 for each booking or purchase that succeeded, and -0.05 for each turn. Whether it
succeeds depends on the service, so success and failure are the same action. Reported: how often an agent does what the people
did, on test dialogues about services of the training split and on those about others. What its policy would earn is estimated
by `--export test` and `seqel evaluate runs/sgd/offline-iql-0 --data runs/sgd/test.jsonl --updates 1500`, and simulated by
sgd_simulator.py. Results: benchmarks/results/sgd/.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import seqel
from measured import commit, measured, train_or_resume
from seqel.datasets import Schema, load
from seqel.datasets.dialogues import CUSTOMER, convert_dialogues, rows_of
from seqel.evaluation.statistics import bootstrap_interval
from text_choice import MODEL

HERE = Path(__file__).parent
RESULTS, WORK = HERE / "results" / "sgd", HERE.parent / "runs" / "sgd"
SETTINGS: dict[str, Any] = {
    "text.encoder": "pretrained", "text.model": MODEL, "text.length": 64, "network.width": 128, "network.layers": 2,
    "network.context": 24, "objective.discount": 0.98, "threads": 1, "device": "cpu",
}  # fmt: skip
Dialogue = dict[str, Any]
# name -> preset and settings; "mild" weighs actions less by their advantages
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "behaviour-cloning": ("behaviour-cloning", {}),
    "offline-iql": ("offline-iql", {}),
    "offline-iql-mild": ("offline-iql", {"objective.awr_beta": 1.0, "objective.iql_expectile": 0.7}),
}


def read(part: str) -> Iterator[tuple[Dialogue, set[str]]]:
    """Yield the dialogues of a file in Seqel's form, each with its services."""
    path = Path(os.environ["SEQEL_DATA"]) / "sgd" / f"{part}.jsonl"
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            found = json.loads(line)
            turns: list[dict[str, Any]] = []
            for speaker, text, acts, *_ in found["turns"]:
                if speaker == "U":
                    turns.append({"role": CUSTOMER, "text": text})
                    continue
                kinds = {act.split()[0] for act in acts}
                reward = -0.05 + ("NOTIFY_SUCCESS" in kinds)
                names = {kind.partition("_")[0] if kind.startswith("NOTIFY") else kind for kind in kinds}
                turns.append({"role": "agent", "text": text, "action": "+".join(sorted(names)), "reward": reward})
            yield {"id": found["id"], "turns": turns}, set(found["services"])


def table(split: str = "train") -> Path:
    """Write the table of the dialogues of a split, unless it is there."""
    path = WORK / f"{split}.jsonl"
    if not path.exists():
        WORK.mkdir(parents=True, exist_ok=True)
        lines = WORK / f"{split}-dialogues.jsonl"
        lines.write_text("".join(json.dumps(one) + "\n" for one, _ in read(split)), encoding="utf-8")
        found = convert_dialogues([lines], path)
        print(f"{found.dialogues:,} dialogues, {found.rows:,} decisions, actions: {found.actions}", file=sys.stderr)
    return path


def agreement(agent: seqel.Agent) -> dict[str, Any]:
    """Return how often the agent does what was done in each test dialogue, with intervals over dialogues."""
    path = table()
    encoding = load(path, Schema.load(path.with_suffix(".toml"))).encoding
    assert encoding is not None
    (names,) = encoding.names
    known = set().union(*(services for _, services in read("train")))
    shares: dict[str, list[float]] = {"known services": [], "a new service": []}
    some = [(rows_of(one, "", {}), services <= known) for one, services in read("test")]
    some.sort(key=lambda one: -len(one[0]))  # so that the rows that are left are always the first ones
    state, right = None, np.zeros(len(some))
    for step in range(len(some[0][0])):
        going = sum(len(rows) > step for rows, _ in some)
        batch = {"text/said": [rows[step]["said"] for rows, _ in some[:going]]}
        before = None if step == 0 else np.array([names.index(rows[step - 1]["action"]) for rows, _ in some[:going]])
        reward = 0.0 if step == 0 else np.array([rows[step - 1]["reward"] for rows, _ in some[:going]], np.float32)
        decision, state = agent.act(
            batch, state, reward=reward, previous_action=before, rows=None if step == 0 else np.arange(going)
        )
        right[:going] += [
            names[int(action)] == rows[step]["action"]
            for action, (rows, _) in zip(decision.action, some[:going], strict=True)
        ]
    for place, (rows, seen) in enumerate(some):
        shares["known services" if seen else "a new service"].append(float(right[place]) / len(rows))
    return {
        name: {"agrees": float(np.mean(one)), "interval": bootstrap_interval(one), "dialogues": len(one)}
        for name, one in shares.items()
    }


def run(method: str, seed: int, updates: int) -> dict[str, Any]:
    data, folder, began = table(), WORK / f"{method}-{seed}", time.perf_counter()
    preset, changes = METHODS[method]

    def show(record: Any) -> None:
        if record.validation is not None:
            print(
                f"{method}: {record.updates} updates, {record.seconds:.0f} s: {record.validation.mean:.4f}",
                file=sys.stderr,
            )

    agent = train_or_resume(
        folder, data=data, schema=data.with_suffix(".toml"), steps=updates, seed=seed, preset=preset,
        settings=SETTINGS | changes, progress=show,
    )  # fmt: skip
    return {
        "method": method, "seed": seed, "updates": updates, "seconds": time.perf_counter() - began, "commit": commit(),
        **agreement(agent),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", nargs="+", choices=METHODS, default=["behaviour-cloning", "offline-iql"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--updates", type=int, default=3_000)
    parser.add_argument("--export", choices=("train", "dev", "test"), help="only write the table of this split")
    parser.add_argument("--table", action="store_true", help="print the finished runs instead of running any")
    given = parser.parse_args()
    if given.export:
        print(table(given.export))
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    print("| method | seed | agrees, known services (95 %) | a new service (95 %) | seconds |\n" + "|---" * 5 + "|")
    for seed in given.seeds:
        for method in given.method:
            path = RESULTS / f"{method}-seed{seed}.json"
            one = measured(path, given.table, partial(run, method, seed, given.updates))
            if one is not None:
                shares = [
                    f"{part['agrees']:.1%} ({part['interval'][0]:.1%} to {part['interval'][1]:.1%})"
                    for part in (one["known services"], one["a new service"])
                ]
                print(f"| {method} | {seed} | {' | '.join(shares)} | {one['seconds']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
