"""Translation as Q-learning: a small language model of sentence pairs, and what values of its translations add.

    SEQEL_DATA=/folder/of/data python benchmarks/translation.py [--pair en-de en-zh] [--seeds 0 1 2 3 4] [--table]

en-de: multi30k, its own splits. en-zh: tatoeba, a twentieth of the English sentences each for validation and for the test, by
their hash, with all their translations. The reward is the sentence's chrF against its references, between 0 and 1, of an
unfinished translation as well (`partial`). Compared at equal decoding cost (one greedy pass): the base policy
(cross-entropy), the dial (its position chosen on validation), and minimum-risk training (Shen et al. 2016, arXiv:1512.02433)
from the same base policy and the same sampled translations, its learning rate and number of updates chosen on validation. At
eight times the cost: the sample of eight that is most like the other seven (minimum Bayes risk); and, as a bound, the best
of eight by the references themselves.

Each seed is a JSON file in benchmarks/results/translation/ and is not run again; an interrupted training continues.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from measured import commit, measured
from seqel.agents.agent import Agent
from seqel.evaluation.statistics import bootstrap_interval
from seqel.integrity import read_sealed
from seqel.language import generate, train_text
from seqel.language.decoding import write
from seqel.language.episodes import TOKEN
from seqel.language.generation import limit_of, tokenizer_of
from seqel.language.tokenizer import Tokenizer
from seqel.types import QOutput

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "translation"
DIALS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
LENGTH, MEASURED = 60, 1_000
CHRF_ = CHRF()
Pairs = dict[str, list[str]]  # source -> references


def splits(pair: str) -> dict[str, Pairs]:
    """Return the sentences for training, validation and test."""
    folder = Path(os.environ["SEQEL_DATA"])
    found: dict[str, Pairs] = {name: defaultdict(list) for name in ("train", "val", "test")}
    if pair == "en-de":
        for name, file in (("train", "train"), ("val", "val"), ("test", "test_2016_flickr")):
            sides = [
                (folder / "multi30k" / f"{file}.{side}").read_text(encoding="utf-8").splitlines()
                for side in ("en", "de")
            ]
            for source, target in zip(*sides, strict=True):
                found[name][source.strip()].append(target.strip())
    else:
        for line in (folder / "tatoeba-en-zh" / "cmn.tsv").read_text(encoding="utf-8-sig").split("\n"):
            if "\t" not in line:  # the end of the file
                continue
            source, target = line.split("\t")[:2]
            part = zlib.crc32(source.encode()) % 20
            found[{0: "val", 1: "test"}.get(part, "train")][source.strip()].append(target.strip())
    return found


def score(text: str, references: Sequence[str]) -> float:
    """Return the sentence's chrF, between 0 and 1."""
    return float(CHRF_.sentence_score(text, list(references)).score) / 100.0


def prompt_of(source: str) -> str:
    return source + "\n"


def outputs_of(agent: Agent, rows: list[list[int]]) -> QOutput:
    """Return the network's output after each token of padded rows, (R, T, ...)."""
    network, longest = agent.network, max(map(len, rows))
    ids = torch.zeros(len(rows), longest, 1, dtype=torch.int64)
    for place, row in enumerate(rows):
        ids[place, : len(row), 0] = torch.tensor(row)
    first = torch.zeros(ids.shape[:2], dtype=torch.bool)
    first[:, 0] = True
    token = network.tokens({TOKEN: ids}, ids, torch.zeros(ids.shape[:2]), first)
    return network.heads(network.trunk(token, first, torch.zeros(len(rows), dtype=torch.int64)))


def logits_of(agent: Agent, rows: list[list[int]]) -> torch.Tensor:
    """Return the policy's log-probability of each token that follows, (R, T-1), of padded rows."""
    out, longest = outputs_of(agent, rows), max(map(len, rows))
    assert out.policy_logits is not None
    following = torch.tensor([row[1:] + [0] * (longest - len(row)) for row in rows])
    return torch.log_softmax(out.policy_logits[:, :-1, 0].float(), dim=-1).gather(-1, following[..., None])[..., 0]


def minimum_risk(
    base: Agent, samples: Path, tokenizer: Tokenizer, rate: float, checks: Sequence[int], seed: int
) -> Iterator[tuple[int, Agent]]:
    """Lower the expected risk (1 - chrF) over the four sampled translations of each source, as in Shen et al. 2016.

    Yields the agent after so many updates; it is trained on when the next one is asked for.
    """
    agent = Agent(copy.deepcopy(base.network), info=base.info)
    lines, _, _ = read_sealed(samples.read_bytes())
    groups = [lines[start : start + 4] for start in range(0, len(lines), 4)]
    rng, optimizer = np.random.default_rng(seed), torch.optim.AdamW(agent.network.parameters(), lr=rate)
    for update in range(1, max(checks) + 1):
        chosen = [one for place in rng.integers(len(groups), size=12) for one in groups[place]]
        rows, starts = [], []
        for one in chosen:
            start = [tokenizer.begin, *tokenizer.encode(one["prompt"])]
            rows.append([*start, *one["tokens"]])
            starts.append(len(start) - 1)
        log_probabilities = logits_of(agent, rows)
        steps = torch.arange(log_probabilities.shape[1])
        mask = (steps >= torch.tensor(starts)[:, None]) & (steps < torch.tensor([len(r) - 1 for r in rows])[:, None])
        total = (log_probabilities * mask).sum(dim=1).view(-1, 4)
        reward = torch.tensor([one["reward"] for one in chosen]).view(-1, 4)
        loss = -(torch.softmax(0.1 * total, dim=1) * reward).sum(dim=1).mean()  # its sharpness of 0.1 as well
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(agent.network.parameters(), 1.0)
        optimizer.step()
        if update in checks:
            yield update, agent


def translations(agent: Agent, sources: Sequence[str], dial: float) -> list[str]:
    return [texts[0] for texts in generate(agent, [prompt_of(one) for one in sources], dial=dial, temperature=0.0)]


def mean_score(agent: Agent, data: Pairs, dial: float) -> float:
    found = translations(agent, list(data), dial)
    return float(np.mean([score(text, data[source]) for text, source in zip(found, data, strict=True)]))


def figures(texts: list[str], data: Pairs, pair: str, base: list[float] | None) -> dict[str, Any]:
    """Return corpus chrF and BLEU, the mean of the sentences' chrF, and its gain over the base policy with an interval."""
    single = [score(text, refs) for text, refs in zip(texts, data.values(), strict=True)]
    streams = [[refs[min(k, len(refs) - 1)] for refs in data.values()] for k in range(4)]
    bleu = BLEU(tokenize="zh" if pair.endswith("zh") else "13a")
    found: dict[str, Any] = {
        "chrf": CHRF_.corpus_score(texts, streams).score, "bleu": bleu.corpus_score(texts, streams).score,
        "sentence": 100.0 * float(np.mean(single)),
    }  # fmt: skip
    if base is not None:
        gain = [100.0 * (one - other) for one, other in zip(single, base, strict=True)]
        found |= {"gain": float(np.mean(gain)), "interval": bootstrap_interval(gain)}
    return found | {"texts": texts[:5]}


def written(agent: Agent, starts: Sequence[Sequence[int]], temperature: float, seed: int = 0) -> list[list[int]]:
    """Continue each of some sequences by the base policy."""
    limit, rng = limit_of(agent, None), np.random.default_rng(seed)
    found = write(agent, starts, tokenizer_of(agent), limit=limit, rng=rng, dial=0.0, temperature=temperature)
    return [one.tokens for one in found]


def likest(texts: Sequence[str]) -> int:
    """Return which text is most like all of them, by chrF (minimum Bayes risk)."""
    return int(np.argmax([sum(score(one, [other]) for other in texts) for one in texts]))


def eight(agent: Agent, data: Pairs, seed: int) -> tuple[list[str], list[str]]:
    """Sample eight translations per source: those most like the other seven, and the best by the references."""
    tokenizer = tokenizer_of(agent)
    starts = [tokenizer.encode(prompt_of(source)) for source in data for _ in range(8)]
    texts = [tokenizer.decode(tokens) for tokens in written(agent, starts, 1.0, seed)]
    alike, best = [], []
    for place, references in enumerate(data.values()):
        some = texts[8 * place : 8 * place + 8]
        alike.append(some[likest(some)])
        best.append(max(some, key=lambda one: score(one, references)))
    return alike, best


def run(pair: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    data = splits(pair)
    test = dict(list(data["test"].items())[:MEASURED])
    val = dict(list(data["val"].items())[: MEASURED // 2])
    pairs = [(prompt_of(source), target) for source, targets in data["train"].items() for target in targets]
    references = {prompt_of(source): targets for source, targets in data["train"].items()}
    began, folder = time.perf_counter(), HERE.parent / "runs" / f"translation-{pair}-{seed}"
    agent = train_text(
        pairs, lambda prompt, text: score(text, references[prompt]), out=folder, length=LENGTH, tokens=given.vocabulary,
        updates=tuple(given.updates), samples=given.samples, rounds=given.rounds, temperature=given.temperature,
        partial=True, seed=seed,
        settings={"threads": 1, "device": "cpu", "validation.every": 1_000},
    )  # fmt: skip
    seconds = time.perf_counter() - began
    tokenizer = tokenizer_of(agent)
    base = Agent.load(folder / "imitation")
    base.info["language"] = agent.info["language"]
    found: dict[str, Any] = {}
    texts = translations(base, list(test), 0.0)
    found["cross-entropy"] = figures(texts, test, pair, None)
    single = [score(text, refs) for text, refs in zip(texts, test.values(), strict=True)]
    on_val = {dial: mean_score(agent, val, dial) for dial in (0.0, *DIALS)}
    dial = max(on_val, key=lambda one: on_val[one])
    found["dial"] = figures(translations(agent, list(test), dial), test, pair, single) | {
        "dial": dial, "validation": {str(one): 100.0 * value for one, value in on_val.items()},
    }  # fmt: skip
    risk = {}
    for rate in (3e-5, 1e-4, 3e-4):
        for updates, trained in minimum_risk(base, folder / "samples-1.jsonl", tokenizer, rate, (100, 300), seed):
            risk[rate, updates] = (mean_score(trained, val, 0.0), copy.deepcopy(trained))
    best = max(risk, key=lambda one: risk[one][0])
    found["minimum risk"] = figures(translations(risk[best][1], list(test), 0.0), test, pair, single) | {
        "rate": best[0], "updates": best[1], "validation": {str(one): 100.0 * value for one, (value, _) in risk.items()},
    }  # fmt: skip
    alike, bound = eight(base, test, seed)
    found["minimum Bayes risk of 8"] = figures(alike, test, pair, single)
    found["best of 8 by the references"] = figures(bound, test, pair, single)
    return {
        "pair": pair, "seed": seed, "updates": given.updates, "samples": given.samples, "rounds": given.rounds,
        "temperature": given.temperature, "vocabulary": given.vocabulary, "seconds": seconds, "commit": commit(),
        "sources": list(test)[:5], "found": found,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", nargs="+", choices=("en-de", "en-zh"), default=["en-de", "en-zh"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--updates", nargs=2, type=int, default=[4_000, 1_500])
    parser.add_argument("--samples", type=int, default=8_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=1.0, help="of the samples that are learned from")
    parser.add_argument("--vocabulary", type=int, default=1_000)
    parser.add_argument("--table", action="store_true", help="print the finished runs instead of running any")
    given = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    print("| pair | seed | how | chrF | BLEU | gain in sentence chrF (95 %) |\n|---|---|---|---|---|---|", flush=True)
    for seed in given.seeds:
        for pair in given.pair:
            path = RESULTS / f"{pair}-seed{seed}.json"
            result = measured(path, given.table, partial(run, pair, seed, given))
            if result is not None:
                for how, one in result["found"].items():
                    gain = (
                        f"{one['gain']:+.2f} ({one['interval'][0]:+.2f} to {one['interval'][1]:+.2f})"
                        if "gain" in one
                        else ""
                    )
                    print(f"| {pair} | {seed} | {how} | {one['chrf']:.2f} | {one['bleu']:.2f} | {gain} |", flush=True)


if __name__ == "__main__":
    main()
