"""One value per token, whatever the sentence: how much of a translation's chrF is wrong in general.

    SEQEL_DATA=/folder/of/data python benchmarks/translation_tokens.py [--pair en-de en-zh] [--seeds 0] [--run RUN] [--table]

The advantage of a token over the greedy one is taken to be the same in all states: the difference of two numbers, one for
each token. They are fitted by ridge regression to what single other tokens gain in translations of training sentences
(translation_deviations.py). Times a dial, they are added to the logits of the base policy (cross-entropy) that
translation.py trained, so a translation costs what it did. Beside it, what a good engineer would try first: a penalty on the
end of a sentence (its last punctuation mark, and the token that ends the text). The ridge, the dial and the penalty are
chosen on validation sentences.

Each seed is a JSON file in benchmarks/results/translation/ and is not run again.
"""

from __future__ import annotations

import argparse
import itertools
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from measured import commit, measured
from seqel.agents.agent import Agent
from seqel.language.generation import tokenizer_of
from translation import HERE, MEASURED, RESULTS, Pairs, figures, mean_score, score, splits, translations
from translation_deviations import Deviations, deviations

RIDGES, DIALS = (30.0, 100.0, 300.0), (0.1, 0.2, 0.4, 0.6, 0.8)
PENALTIES = (0.0, 0.5, 1.0, 2.0, 3.0)
PERIOD = {"en-de": "a.", "en-zh": "好。"}  # after a word, as tokens may contain the space before them
COMMON = 10.0  # the weight of the intercept, what any other token loses, relative to that of a token


def token_values(found: Deviations, tokens: int, ridge: float) -> NDArray[np.float64]:
    """Fit one value per token, (A,), in chrF (0 to 100)."""
    count = len(found.gains)
    features = np.zeros((count, tokens + 1))
    features[np.arange(count), found.others] += 1.0
    features[np.arange(count), found.given] -= 1.0
    features[:, tokens] = COMMON
    normal = features.T @ features + ridge * np.eye(tokens + 1)
    return np.linalg.solve(normal, features.T @ found.gains)[:tokens].astype(np.float64)


@contextmanager
def biased(agent: Agent, bias: NDArray[np.float64]) -> Iterator[None]:
    """Add a number per token to the logits of the policy."""
    layer = agent.network.get_submodule("policy.linear")
    assert isinstance(layer, torch.nn.Linear)
    before = layer.bias.detach().clone()
    with torch.no_grad():
        layer.bias.add_(torch.from_numpy(bias).to(layer.bias))
    try:
        yield
    finally:
        with torch.no_grad():
            layer.bias.copy_(before)


def measure(
    agent: Agent, bias: NDArray[np.float64], data: Pairs, pair: str, base: list[float] | None
) -> dict[str, Any]:
    """Return the figures of greedy translations, and how long they are relative to the first reference."""
    with biased(agent, bias):
        texts = translations(agent, list(data), 0.0)
    length = np.mean([len(text) / len(refs[0]) for text, refs in zip(texts, data.values(), strict=True)])
    single = [score(text, refs) for text, refs in zip(texts, data.values(), strict=True)]
    return figures(texts, data, pair, base) | {"length": float(length), "single": single}


def run(pair: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    folder: Path = given.run or HERE.parent / "runs" / f"translation-{pair}-{seed}"
    agent = Agent.load(folder / "imitation" / "agent")
    agent.info["language"] = Agent.load(folder / "values" / "agent").info["language"]
    tokenizer, data = tokenizer_of(agent), splits(pair)
    test = dict(list(data["test"].items())[:MEASURED])
    val = dict(list(data["val"].items())[:MEASURED])
    train = dict(random.Random(seed).sample(list(data["train"].items()), given.sentences))
    began = time.perf_counter()
    found = deviations(agent, train, given.others, seed)
    seconds = time.perf_counter() - began
    fits = {ridge: token_values(found, tokenizer.size, ridge) for ridge in RIDGES}
    last = np.zeros(tokenizer.size)
    last[[tokenizer.encode(PERIOD[pair])[-1], tokenizer.end]] = -1.0
    tried: dict[str, dict[tuple[float, ...], NDArray[np.float64]]] = {
        "one value per token": {(0.0,): 0.0 * last}
        | {(ridge, dial): dial * fits[ridge] for ridge, dial in itertools.product(RIDGES, DIALS)},
        "penalty on the end": {(penalty,): penalty * last for penalty in PENALTIES},
    }
    base = measure(agent, 0.0 * last, test, pair, None)
    single = base.pop("single")
    results: dict[str, Any] = {"cross-entropy": base}
    for how, biases in tried.items():
        scores: dict[tuple[float, ...], float] = {}
        for setting, bias in biases.items():
            with biased(agent, bias):
                scores[setting] = 100.0 * mean_score(agent, val, 0.0)
        best = max(scores, key=lambda one: scores[one])
        results[how] = measure(agent, biases[best], test, pair, single) | {
            "chosen": best, "validation": {str(one): value for one, value in scores.items()},
        }  # fmt: skip
        results[how].pop("single")
    order = np.argsort(fits[RIDGES[1]])
    extremes = {
        name: [[tokenizer.decode([int(one)]), float(fits[RIDGES[1]][one])] for one in some]
        for name, some in (("lowest", order[:10]), ("highest", order[-10:]))
    }
    return {
        "pair": pair, "seed": seed, "sentences": given.sentences, "others": given.others, "seconds": seconds,
        "commit": commit(), "better": float((found.gains > 0).mean()), "gain": float(found.gains.mean()),
        "tokens": extremes, "found": results,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", nargs="+", choices=PERIOD, default=list(PERIOD))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--run", type=Path, help="the folder of the training, if it is not that of translation.py")
    parser.add_argument("--sentences", type=int, default=16_000, help="of training, to draw other tokens in")
    parser.add_argument("--others", type=int, default=3, help="tokens per sentence")
    parser.add_argument("--table", action="store_true", help="print the finished runs instead of running any")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| pair | seed | how | chrF | gain in sentence chrF (95 %) | length |\n|---|---|---|---|---|---|", flush=True)
    for seed in given.seeds:
        for pair in given.pair:
            path = RESULTS / f"tokens-{pair}-seed{seed}.json"
            result = measured(path, given.table, partial(run, pair, seed, given))
            if result is not None:
                for how, one in result["found"].items():
                    low, high = one.get("interval", (0.0, 0.0))
                    gain = f"{one['gain']:+.2f} ({low:+.2f} to {high:+.2f})" if "gain" in one else ""
                    print(f"| {pair} | {seed} | {how} | {one['chrf']:.2f} | {gain} | {one['length']:.3f} |", flush=True)


if __name__ == "__main__":
    main()
