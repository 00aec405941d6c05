"""What values could add to a greedy translation: how much there is to choose from, and what the agent knows of it.

    SEQEL_DATA=/folder/of/data python benchmarks/translation_limits.py RUN [--pair en-de] [--captions 300]

RUN is the folder of a training by translation.py, or of another one on the same pairs. On validation sentences, by the chrF
of each against its references:

1. Eight samples of the base policy at several temperatures: their mean, the one that is most like the other seven (minimum
   Bayes risk), and the best by the references.
2. Greedy translations with one other token (translation_deviations.py): how often they are better, by how much, and how the
   difference correlates with that of the base policy's log-probabilities and with that of the values of the run's agent.

What can be gained without looking at the sentence is measured by translation_tokens.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from seqel.agents.agent import Agent
from seqel.evaluation.statistics import bootstrap_interval
from seqel.language.generation import tokenizer_of
from translation import Pairs, likest, prompt_of, score, splits, written
from translation_deviations import deviations

TEMPERATURES, OTHERS = (0.3, 0.5, 0.7, 1.0), 3


def samples(agent: Agent, data: Pairs) -> None:
    """Print what eight samples are worth."""
    tokenizer = tokenizer_of(agent)
    starts = [tokenizer.encode(prompt_of(source)) for source in data for _ in range(8)]
    print("| temperature | mean | most like the other seven | best by the references |\n|---|---|---|---|", flush=True)
    for temperature in TEMPERATURES:
        texts = [tokenizer.decode(tokens) for tokens in written(agent, starts, temperature)]
        worth, alike = [], []
        for place, references in enumerate(data.values()):
            some = texts[8 * place : 8 * place + 8]
            worth.append([score(one, references) for one in some])
            alike.append(likest(some))
        chrf = 100.0 * np.array(worth)
        like = chrf[np.arange(len(chrf)), alike].mean()
        print(f"| {temperature} | {chrf.mean():.1f} | {like:.1f} | {chrf.max(axis=1).mean():.1f} |", flush=True)


def others(agent: Agent, data: Pairs) -> None:
    """Print how translations change with one other token."""
    found = deviations(agent, data, OTHERS)
    gain, value = found.gains, found.values
    print(
        f"one other token: {(gain > 0).mean():.1%} better, by {gain[gain > 0].mean():.1f}; {gain.mean():+.1f} on average; "
        f"correlation with log-probabilities {np.corrcoef(gain, found.logs)[0, 1]:.2f}"
    )
    if value.std() > 0:
        low, high = bootstrap_interval(np.where(value > 0, gain, 0.0).tolist())
        print(
            f"with the agent's values {np.corrcoef(gain, value)[0, 1]:.2f}; those that they call better gain "
            f"{np.where(value > 0, gain, 0.0).mean():+.2f} ({low:+.2f} to {high:+.2f}) per token"
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


if __name__ == "__main__":
    main()
