"""Sentiment of the Financial PhraseBank (50 % agreement), ten folds: a fine-tuned encoder inside the Q-network, and peers.

    SEQEL_DATA=/folder/of/data python benchmarks/sentiment.py [--method regression full lora prefix] [--folds 10] [--table]

Sentences that differ only in numbers, case and punctuation are in one fold. Macro-F1 is that of all test folds together, with
a bootstrap interval over sentences. Beside it: logistic regression on the vectors of the same frozen encoder, its
regularisation chosen on a tenth of each training part, which is also where ours is validated. Published: FinBERT, 0.84
(Araci 2019, arXiv:1908.10063, on other folds). Each fold of each method is a JSON file in benchmarks/results/sentiment/ and
is not run again. The largest memory is that of the process: run a method alone to compare it.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import resource
import time
import zlib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from measured import commit, measured
from seqel.texts.config import TextConfig
from seqel.texts.make import make_reader
from text_choice import MODEL, choose, train_choice

RESULTS = Path(__file__).parent / "results" / "sentiment"
# The weights of the encoder learn at a share of the rate of all others. With a narrow network, adapters and network together
# are less than 3 % of all weights.
NARROW = {"network.width": 128}
METHODS: dict[str, dict[str, Any]] = {
    name: {
        "text.tuning": name.partition("-")[0], "learner.learning_rate": 1e-3, "learner.pretrained_rate": share,
        "validation.every": 100,
    } | more
    for name, share, more in (
        ("full", 0.05, {}), ("lora", 0.5, {}), ("prefix", 3.0, {}), ("lora-narrow", 0.5, NARROW),
        ("prefix-narrow", 3.0, NARROW | {"text.prefix": 32}),
    )
}  # fmt: skip


def sentences() -> list[tuple[str, str]]:
    """Return sentences and sentiments; one that occurs with two sentiments keeps both, as in published results."""
    (path,) = (Path(os.environ["SEQEL_DATA"]) / "financial-phrasebank").glob("*.csv")
    with path.open(encoding="latin-1", newline="") as file:
        return [(row["content"].strip(), row["result"].strip()) for row in csv.DictReader(file)]


def fold_of(text: str, folds: int) -> int:
    return zlib.crc32(" ".join(re.findall(r"[^\W\d_]+", text.lower())).encode()) % folds


def regression(train: list[tuple[str, str]], test: list[str], seed: int) -> list[str]:
    reader = make_reader(TextConfig(encoder="pretrained", model=MODEL, length=64))
    assert reader is not None
    x, y = reader.read([text for text, _ in train]), np.array([answer for _, answer in train])
    held = np.random.default_rng(seed).random(len(train)) < 0.1
    strengths = (0.3, 1.0, 3.0, 10.0, 30.0)
    scores = [
        f1_score(
            y[held], LogisticRegression(C=c, max_iter=2_000).fit(x[~held], y[~held]).predict(x[held]), average="macro"
        )
        for c in strengths
    ]
    best = LogisticRegression(C=strengths[int(np.argmax(scores))], max_iter=2_000).fit(x, y)
    return [str(one) for one in best.predict(reader.read(test))]


def run(method: str, fold: int, folds: int, updates: int) -> dict[str, Any]:
    data = sentences()
    train = [pair for pair in data if fold_of(pair[0], folds) != fold]
    test = [pair for pair in data if fold_of(pair[0], folds) == fold]
    began, texts = time.perf_counter(), [text for text, _ in test]
    curve: list[tuple[int, float, float]] = []
    trained = weights = 0
    if method == "regression":
        chosen = regression(train, texts, fold)
    else:
        agent, names, curve = train_choice(train, METHODS[method], updates, fold, f"{method}, fold {fold}:")
        chosen = choose(agent, names, texts)
        every = list(agent.network.parameters())
        trained, weights = (sum(one.numel() for one in every if one.requires_grad or whole) for whole in (False, True))
    return {
        "method": method, "fold": fold, "folds": folds, "updates": updates, "seconds": time.perf_counter() - began,
        "commit": commit(), "chosen": chosen, "truth": [answer for _, answer in test], "curve": curve,
        "trained": trained, "weights": weights, "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
    }  # fmt: skip


def show(method: str, found: list[dict[str, Any]]) -> None:
    """Print accuracy and macro-F1 of some folds together."""
    chosen = np.array([one for fold in found for one in fold["chosen"]])
    truth = np.array([one for fold in found for one in fold["truth"]])
    rng = np.random.default_rng(0)
    draws = [
        f1_score(truth[some], chosen[some], average="macro")
        for some in (rng.integers(len(truth), size=len(truth)) for _ in range(500))
    ]
    low, high = np.quantile(draws, (0.025, 0.975))
    print(
        f"| {method} | {len(found)} | {(chosen == truth).mean():.1%} | {f1_score(truth, chosen, average='macro'):.3f} "
        f"({low:.3f} to {high:.3f}) | {found[0].get('trained', 0):,} | {np.mean([one['seconds'] for one in found]):.0f} | "
        f"{found[0].get('memory_mib', 0.0):.0f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", nargs="+", choices=("regression", *METHODS), default=["regression", "full"])
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--only", nargs="+", type=int, help="these folds alone")
    parser.add_argument("--updates", type=int, default=500)
    parser.add_argument("--table", action="store_true", help="print the finished runs instead of running any")
    given = parser.parse_args()
    torch.set_num_threads(1)
    RESULTS.mkdir(parents=True, exist_ok=True)
    print(
        "| method | folds | accuracy | macro-F1 (95 %) | weights trained | seconds per fold | MiB |\n"
        + "|---" * 7
        + "|",
        flush=True,
    )
    for method in given.method:
        found = []
        for fold in given.only or range(given.folds):
            path = RESULTS / f"{method}-{fold}-of-{given.folds}.json"
            one = measured(path, given.table, partial(run, method, fold, given.folds, given.updates))
            found += [] if one is None else [one]
        if found:
            show(method, found)


if __name__ == "__main__":
    main()
