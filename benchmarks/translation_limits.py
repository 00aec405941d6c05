"""What values could add to a greedy translation: how much there is to choose from, and what the agent knows of it.

    SEQEL_DATA=/folder/of/data python benchmarks/translation_limits.py RUN [--pair en-de] [--captions 300]

RUN is the folder of a training by translation.py, or of another one on the same pairs. On validation sentences, by the chrF
of each against its references:

1. Eight samples of the base policy at several temperatures: their mean, the one that is most like the other seven (minimum
   Bayes risk), and the best by the references.
2. Greedy translations with one other token, at a place and with a token drawn by the base policy's probabilities, that are
   continued greedily: how often they are better, by how much, and how the difference correlates with that of the base
   policy's log-probabilities and with that of the values of the run's agent.
3. Greedy translations with a penalty on the period: how much of the gain is mere length.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from seqel.agents.agent import Agent
from seqel.evaluation.statistics import bootstrap_interval
from seqel.language.decoding import read_tokens, step, tilted, write
from seqel.language.generation import limit_of, tokenizer_of
from translation import Pairs, prompt_of, score, splits

TEMPERATURES, PENALTIES, OTHERS = (0.3, 0.5, 0.7, 1.0), (0.0, 0.5, 1.0, 2.0), 3


def written(agent: Agent, starts: Sequence[Sequence[int]], temperature: float, seed: int = 0) -> list[list[int]]:
    """Continue each of some sequences by the base policy."""
    limit, rng = limit_of(agent, None), np.random.default_rng(seed)
    found = write(agent, starts, tokenizer_of(agent), limit=limit, rng=rng, dial=0.0, temperature=temperature)
    return [one.tokens for one in found]


def samples(agent: Agent, data: Pairs) -> None:
    """Print what eight samples are worth."""
    tokenizer = tokenizer_of(agent)
    starts = [tokenizer.encode(prompt_of(source)) for source in data for _ in range(8)]
    print("| temperature | mean | most like the other seven | best by the references |\n|---|---|---|---|", flush=True)
    for temperature in TEMPERATURES:
        texts = [tokenizer.decode(tokens) for tokens in written(agent, starts, temperature)]
        worth, likest = [], []
        for place, references in enumerate(data.values()):
            some = texts[8 * place : 8 * place + 8]
            worth.append([score(one, references) for one in some])
            likest.append(int(np.argmax([sum(score(one, [other]) for other in some) for one in some])))
        chrf = 100.0 * np.array(worth)
        like = chrf[np.arange(len(chrf)), likest].mean()
        print(f"| {temperature} | {chrf.mean():.1f} | {like:.1f} | {chrf.max(axis=1).mean():.1f} |", flush=True)


def along(agent: Agent, start: Sequence[int], tokens: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return log-probabilities and values of every token at each place of a translation.  -> two (T, A)."""
    tokenizer = tokenizer_of(agent)
    state, latest = read_tokens(agent, [[tokenizer.begin, *start]])
    logs, values = [], []
    for token in tokens:
        out = step(agent, latest, state)
        base, _ = tilted(out, agent.network.head.values, agent.network.head.scale, 0.0)
        logs.append(base[0].double().numpy())
        values.append(out.q[0, 0].double().numpy())
        latest = np.array([token])
    return np.array(logs), np.array(values)


def others(agent: Agent, data: Pairs, seed: int = 0) -> None:
    """Print how translations change with one other token."""
    tokenizer, rng = tokenizer_of(agent), np.random.default_rng(seed)
    starts = [tokenizer.encode(prompt_of(source)) for source in data]
    greedy = [[*tokens, tokenizer.end] for tokens in written(agent, starts, 0.0)]
    begun, ends, logs, values, owners = [], [], [], [], []
    for place, (start, tokens) in enumerate(zip(starts, greedy, strict=True)):
        log, value = along(agent, start, tokens)
        chance = np.exp(log)
        chance[np.arange(len(tokens)), tokens] = chance[:, tokenizer.begin] = 0.0
        doubt = chance.sum(axis=1) + 0.02
        for _ in range(OTHERS):
            at = int(rng.choice(len(tokens), p=doubt / doubt.sum()))
            other = int(rng.choice(chance.shape[1], p=chance[at] / chance[at].sum()))
            begun.append([*tokens[:at], other])
            ends.append(other == tokenizer.end)
            logs.append(log[at, other] - log[at, tokens[at]])
            values.append(value[at, other] - value[at, tokens[at]])
            owners.append(place)
    going = [number for number, end in enumerate(ends) if not end]
    more = written(agent, [[*starts[owners[number]], *begun[number]] for number in going], 0.0)
    for number, tokens in zip(going, more, strict=True):
        begun[number] += tokens
    references = list(data.values())
    before = [score(tokenizer.decode(tokens[:-1]), refs) for tokens, refs in zip(greedy, references, strict=True)]
    gain = 100.0 * np.array([
        score(tokenizer.decode([one for one in tokens if one != tokenizer.end]), references[owner]) - before[owner]
        for tokens, owner in zip(begun, owners, strict=True)
    ])  # fmt: skip
    value = np.array(values)
    print(
        f"one other token: {(gain > 0).mean():.1%} better, by {gain[gain > 0].mean():.1f}; {gain.mean():+.1f} on average; "
        f"correlation with log-probabilities {np.corrcoef(gain, logs)[0, 1]:.2f}"
    )
    if value.std() > 0:
        low, high = bootstrap_interval(np.where(value > 0, gain, 0.0).tolist())
        print(
            f"with the agent's values {np.corrcoef(gain, value)[0, 1]:.2f}; those that they call better gain "
            f"{np.where(value > 0, gain, 0.0).mean():+.2f} ({low:+.2f} to {high:+.2f}) per token"
        )


def periods(agent: Agent, data: Pairs) -> None:
    """Print what a penalty on the period adds."""
    tokenizer = tokenizer_of(agent)
    period, starts = tokenizer.encode("a.")[-1], [tokenizer.encode(prompt_of(source)) for source in data]
    layer = agent.network.get_submodule("policy.linear")
    assert isinstance(layer, torch.nn.Linear)
    first: NDArray[np.float64] | None = None
    for penalty in PENALTIES:
        with torch.no_grad():
            layer.bias[[period, tokenizer.end]] -= penalty
        texts = [tokenizer.decode(tokens) for tokens in written(agent, starts, 0.0)]
        with torch.no_grad():
            layer.bias[[period, tokenizer.end]] += penalty
        chrf = 100.0 * np.array([score(text, refs) for text, refs in zip(texts, data.values(), strict=True)])
        first = chrf if first is None else first
        low, high = bootstrap_interval((chrf - first).tolist())
        length = np.mean([len(text) / len(refs[0]) for text, refs in zip(texts, data.values(), strict=True)])
        gain = (chrf - first).mean()
        print(
            f"penalty {penalty} nats: {chrf.mean():.2f}, {gain:+.2f} ({low:+.2f} to {high:+.2f}), length {length:.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--pair", choices=("en-de", "en-zh"), default="en-de")
    parser.add_argument("--captions", type=int, default=300)
    given = parser.parse_args()
    torch.set_num_threads(1)
    agent = Agent.load(given.run / "values" / "agent")
    base = Agent.load(given.run / "imitation" / "agent")
    base.info["language"] = agent.info["language"]
    data = dict(list(splits(given.pair)["val"].items())[: given.captions])
    samples(base, data)
    others(agent, data)
    periods(base, data)


if __name__ == "__main__":
    main()
