"""Question answering by extraction: the answer is a span of the passage, and the agent decides word by word.

    SEQEL_DATA=/folder/of/data python benchmarks/extraction.py [--method NAME ...] [--seeds 0] [--table]
    SEQEL_DATA=/folder/of/data python benchmarks/extraction.py --show 60     # labelled test examples, to be read

Questions and passages are from the Schema-Guided Dialogue dataset, labelled by a rule (extraction_data.py). An episode
begins with the question; then come the words of the passage, one per step, and the agent decides at each whether it is
inside or outside of the answer. A word is the mean state of its tokens in the frozen all-MiniLM-L6-v2 over the whole
passage, so that the agent also knows what follows.

words: cloning of the right decisions with Q-learning as a second loss, a reward of 1 per word, discount 0.
f1: implicit Q-learning from sessions of which half are right; the reward is the token F1 of the answer, at the end.
words+f1: the agent of "words", then implicit Q-learning on its own wrong answers and on right ones, with the reward of "f1".

Beside them: a rule (the longest run of names and numbers), logistic regression per word on the word, its neighbours and
their shapes, crossed with the words of the question, and all-MiniLM-L6-v2 fine-tuned to predict the answer's first and
last word. All learn from the same examples. What is chosen is chosen on the dev split. Results:
benchmarks/results/extraction/.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import seqel
from extraction_agent import Contextual, altered, margins, own_sessions, train
from extraction_answers import DECODERS, figures, scores
from extraction_baselines import WordRegression, fine_tune, rule
from extraction_data import Example, examples
from measured import commit, measured

HERE = Path(__file__).parent
RESULTS, WORK = HERE / "results" / "extraction", HERE.parent / "runs" / "extraction"


def learned(
    method: str, seed: int, encode: Contextual, given: argparse.Namespace, some: Sequence[Example]
) -> seqel.Agent:
    """Train one of our methods on some examples, or load the agent if it is trained."""
    folder = WORK / f"{method}-{given.updates}-{seed}"
    if (folder / "agent").exists():
        return seqel.Agent.load(folder / "agent", text_encoder=encode)
    right = [(one, one.span) for one in some]
    if method == "words":
        return train(right, method, encode, given.updates, seed, folder)
    if method == "f1":
        rng = np.random.default_rng(seed)
        wrong = [(one, altered(one, rng)) for one in some]
        return train(right + wrong, method, encode, given.updates, seed, folder)
    start = learned("words", seed, encode, given, some)
    return train(own_sessions(start, some), method, encode, given.updates // 3, seed, folder, start)


def run(method: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    train_part, dev, test = (
        examples(part, most) for part, most in (("train", given.examples), ("dev", 1_000), ("test", 3_000))
    )
    services = json.loads((Path(os.environ["SEQEL_DATA"]) / "sgd" / "train_schema.json").read_text(encoding="utf-8"))
    known = {one["service_name"] for one in services}
    chosen: dict[str, Any] = {}
    began = time.process_time()
    if method == "rule":
        answers = {part: [rule(one) for one in some] for part, some in (("dev", dev), ("test", test))}
    elif method == "fine-tuned":
        answer = fine_tune(train_part, given.epochs, given.rate, seed)
        answers = {part: answer(some) for part, some in (("dev", dev), ("test", test))}
        chosen = {"epochs": given.epochs, "rate": given.rate}
    else:
        found: dict[str, tuple[list[NDArray[np.float64]], WordRegression | seqel.Agent]] = {}
        if method == "regression":
            fitted = {c: WordRegression(train_part, c) for c in (0.1, 1.0, 10.0)}
            found |= {f"C = {c}": (model.margins(dev), model) for c, model in fitted.items()}
        else:
            encode = Contextual(WORK / f"words-{given.examples}.npz")
            encode.keep(text for one in [*train_part, *dev, *test] for text in (one.question, " ".join(one.words)))
            print(f"encoded, {time.process_time() - began:.0f} s", file=sys.stderr, flush=True)
            began = time.process_time()
            agent = learned(method, seed, encode, given, train_part)
            for weight in (0.0, 0.3, 1.0):
                agent.set_value_weight(weight)
                found[f"value_weight = {weight}"] = (margins(agent, dev), agent)
        seconds = time.process_time() - began
        on_dev = {
            f"{name}, {decoder}": float(scores([decode(one) for one in some], dev)[1].mean())
            for name, (some, _) in found.items()
            for decoder, decode in DECODERS.items()
        }
        best = max(on_dev, key=lambda one: on_dev[one])
        name, _, decoder = best.rpartition(", ")
        some, model = found[name]
        if isinstance(model, seqel.Agent):
            model.set_value_weight(float(name.split()[-1]))
        on_test = model.margins(test) if isinstance(model, WordRegression) else margins(model, test)
        answers = {part: [DECODERS[decoder](one) for one in rows] for part, rows in (("dev", some), ("test", on_test))}
        chosen = {"chosen": best, "f1 on dev": on_dev, "seconds": seconds}
    print(f"{method}, seed {seed}, dev: {figures(answers['dev'], dev, known)} {chosen}", file=sys.stderr, flush=True)
    return {
        "method": method, "seed": seed, "updates": given.updates, "train": len(train_part), "commit": commit(),
        "cpu_seconds": time.process_time() - began, **chosen,
        **{part: figures(answers[part], some, known) for part, some in (("dev", dev), ("test", test))},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = ("rule", "regression", "words", "f1", "words+f1", "fine-tuned")
    parser.add_argument("--method", nargs="+", choices=every, default=every)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--examples", type=int, default=8_000, help="to learn from")
    parser.add_argument("--updates", type=int, default=1_500, help="of the Q-network")
    parser.add_argument("--epochs", type=int, default=1, help="of fine-tuning")
    parser.add_argument("--rate", type=float, default=2e-4, help="of fine-tuning")
    parser.add_argument("--show", type=int, default=0, help="print so many labelled test examples instead")
    parser.add_argument("--table", action="store_true", help="print the finished runs instead of running any")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for one in examples("test", given.show) if given.show else ():
        words = [f"[{word}" if k == one.span[0] else word for k, word in enumerate(one.words)]
        words[one.span[1] - 1] += "]"
        print(f"{one.question}: {' '.join(words)}")
    if given.show:
        return
    parts = ("all", "known", "new")
    columns = [f"{what}, {part}" for part in parts for what in ("exact", "F1")]
    print(f"| method | seed | {' | '.join(columns)} | CPU seconds |\n" + "|---" * (len(columns) + 3) + "|", flush=True)
    for seed in given.seeds:
        for method in given.method:
            path = RESULTS / f"{method}-seed{seed}.json"
            found = measured(path, given.table, partial(run, method, seed, given))
            if found is not None and given.table:
                cells = [
                    f"{found['test'][part][what]:.1%} ({low:.1%} to {high:.1%})"
                    for part in parts
                    for what in ("exact", "f1")
                    for low, high in [found["test"][part][f"{what}_interval"]]
                ]
                print(f"| {method} | {seed} | {' | '.join(cells)} | {found['cpu_seconds']:.0f} |", flush=True)


if __name__ == "__main__":
    main()
