"""A question's answer among 77 candidates, by how a pretrained encoder inside the Q-network is trained.

    SEQEL_DATA=/folder/of/data python benchmarks/question_answering.py [--method NAME ...] [--seeds 0] [--table]

Banking77, its own split: a session is a question, its action the right answer, its reward 1. A tenth of the training sessions
is held out for validation. The encoder is all-MiniLM-L6-v2 (22.7 million weights), in the hub's cache or in SEQEL_MODELS.
Beside it: logistic regression on the same encoder's vectors (scikit-learn, its regularisation chosen on the same tenth). Each
method runs in a process of its own, so that the largest memory is its own.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from measured import commit
from seqel.texts.config import TextConfig
from seqel.texts.make import make_reader
from text_choice import BASE, MODEL, choose, train_choice

RESULTS = Path(__file__).parent / "results" / "question-answering"
SETTINGS: dict[str, Any] = {"text.length": 48, "validation.every": 250}
METHODS: dict[str, dict[str, Any]] = {
    "frozen": {"text.tuning": "frozen", "replay.batch_tokens": 512},
    # pretrained_rate multiplies the rate of the heads for what is trained inside the encoder
    "lora": {"text.tuning": "lora", "learner.learning_rate": 1e-3, "learner.pretrained_rate": 0.5},
    "prefix": {"text.tuning": "prefix", "learner.learning_rate": 1e-3, "learner.pretrained_rate": 3.0},
    "full": {"text.tuning": "full", "learner.learning_rate": 1e-3, "learner.pretrained_rate": 0.05},
}


def questions(part: str) -> list[tuple[str, str]]:
    """Return the questions and answers of the training split ("train") or of the test."""
    with (Path(os.environ["SEQEL_DATA"]) / "banking77" / f"{part}.csv").open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["category"]) for row in csv.DictReader(file)]


def regression(seed: int) -> dict[str, Any]:
    """Fit logistic regression on the vectors of the frozen encoder."""
    train, test = questions("train"), questions("test")
    began = time.perf_counter()
    reader = make_reader(TextConfig(encoder="pretrained", model=MODEL, length=48))
    assert reader is not None
    vectors, held = (reader.read([text for text, _ in some]) for some in (train, test))
    answers = np.array([answer for _, answer in train])
    validation = np.random.default_rng(seed).random(len(train)) < 0.1
    best = (0.0, 0.0)
    for c in (1.0, 3.0, 10.0, 30.0, 100.0):
        model = LogisticRegression(C=c, max_iter=500).fit(vectors[~validation], answers[~validation])
        best = max(best, (model.score(vectors[validation], answers[validation]), c))
    model = LogisticRegression(C=best[1], max_iter=500).fit(vectors, answers)
    return {
        "accuracy": model.score(held, [answer for _, answer in test]), "c": best[1],
        "seconds": time.perf_counter() - began,
    }  # fmt: skip


def run(method: str, seed: int, updates: int) -> dict[str, Any]:
    if method == "regression":
        return regression(seed)
    began = time.perf_counter()
    agent, names, curve = train_choice(questions("train"), SETTINGS | METHODS[method], updates, seed, method)
    seconds, test = time.perf_counter() - began, questions("test")
    chosen = choose(agent, names, [text for text, _ in test])
    right = sum(one == answer for one, (_, answer) in zip(chosen, test, strict=True))
    weights = list(agent.network.parameters())
    trained = sum(one.numel() for one in weights if one.requires_grad)
    return {
        "accuracy": right / len(test), "seconds": seconds, "updates": updates, "trained": trained, "curve": curve,
        "per_update": seconds / updates, "batch": (BASE | SETTINGS | METHODS[method])["replay.batch_tokens"],
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = ("regression", *METHODS)
    parser.add_argument("--method", nargs="+", choices=every, default=list(every))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--updates", type=int, default=1_500)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--table", action="store_true", help="print the finished runs instead of running any")
    given = parser.parse_args()
    if given.one:
        torch.set_num_threads(1)
        found = run(given.one, given.seeds[0], given.updates)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
        path = RESULTS / f"{given.one}-seed{given.seeds[0]}.json"
        path.write_text(json.dumps(found | {"memory_mib": memory, "commit": commit()}, indent=1) + "\n")
        return
    RESULTS.mkdir(parents=True, exist_ok=True)
    print("| method | seed | accuracy | weights trained | seconds | MiB |\n|---|---|---|---|---|---|", flush=True)
    for seed in given.seeds:
        for method in given.method:
            path = RESULTS / f"{method}-seed{seed}.json"
            if not path.exists() and not given.table:
                command = [
                    sys.executable,
                    __file__,
                    "--one",
                    method,
                    "--seeds",
                    str(seed),
                    "--updates",
                    str(given.updates),
                ]
                subprocess.run(command, check=True)
            if path.exists():
                found = json.loads(path.read_text())
                trained = f"{found['trained']:,}" if "trained" in found else ""
                print(
                    f"| {method} | {seed} | {found['accuracy']:.1%} | {trained} | {found['seconds']:.0f} | "
                    f"{found['memory_mib']:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
