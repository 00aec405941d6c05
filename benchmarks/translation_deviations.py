"""Greedy translations with one other token: what a single choice is worth, measured by completing the translation.

Each of these leaves the greedy translation at one place, mostly where the policy is unsure, with a token drawn by the
policy's probabilities, and is completed greedily: one-step deviations (Chang et al. 2015, arXiv:1502.02206; there, places
are drawn uniformly). The difference of the two rewards is a sample of the token's advantage. Samples of whole translations
differ in many tokens at once, whose effects cannot be separated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from seqel.agents.agent import Agent
from seqel.language.generation import tokenizer_of
from translation import Pairs, outputs_of, prompt_of, score, written

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Deviations:
    """N other tokens. Logs and values are those of the other token less those of the greedy one, at the same place."""

    owners: NDArray[np.int64]  # (N,), of which source
    given: NDArray[np.int64]  # (N,), the token of the greedy translation
    others: NDArray[np.int64]  # (N,), the token in its place
    logs: Floats  # (N,), of the policy's probabilities
    values: Floats  # (N,), of the agent
    gains: Floats  # (N,), in the translation's chrF (0 to 100)


@torch.inference_mode()
def along(
    agent: Agent, starts: Sequence[list[int]], translations: Sequence[list[int]], at_once: int = 32
) -> Iterator[tuple[Floats, Floats]]:
    """Yield log-probabilities and values of every token at each place of each translation, two (T, A)."""
    begin = tokenizer_of(agent).begin
    for first in range(0, len(starts), at_once):
        some = range(first, min(first + at_once, len(starts)))
        out = outputs_of(agent, [[begin, *starts[one], *translations[one]] for one in some])
        assert out.policy_logits is not None
        logs = torch.log_softmax(out.policy_logits[:, :, 0].float(), dim=-1).double().numpy()
        values = out.q[:, :, 0].double().numpy()
        for row, one in enumerate(some):
            places = slice(len(starts[one]), len(starts[one]) + len(translations[one]))
            yield logs[row, places], values[row, places]


def deviations(agent: Agent, data: Pairs, count: int, seed: int = 0) -> Deviations:
    """Draw this many other tokens for each source, and complete the translations."""
    tokenizer, rng, references = tokenizer_of(agent), np.random.default_rng(seed), list(data.values())
    starts = [tokenizer.encode(prompt_of(source)) for source in data]
    greedy = [[*tokens, tokenizer.end] for tokens in written(agent, starts, 0.0)]
    begun, found = [], []
    for place, (tokens, (log, value)) in enumerate(zip(greedy, along(agent, starts, greedy), strict=True)):
        chance = np.exp(log)
        chance[np.arange(len(tokens)), tokens] = chance[:, tokenizer.begin] = 0.0
        doubt = chance.sum(axis=1) + 0.02
        for at in rng.choice(len(tokens), size=count, p=doubt / doubt.sum()):
            given, other = tokens[at], int(rng.choice(chance.shape[1], p=chance[at] / chance[at].sum()))
            begun.append([*tokens[:at], other])
            found.append((place, given, other, log[at, other] - log[at, given], value[at, other] - value[at, given]))
    going = [number for number, tokens in enumerate(begun) if tokens[-1] != tokenizer.end]
    more = written(agent, [[*starts[found[number][0]], *begun[number]] for number in going], 0.0)
    for number, tokens in zip(going, more, strict=True):
        begun[number] += tokens
    owners, givens, others, logs, values = (np.array(column) for column in zip(*found, strict=True))
    before = [score(tokenizer.decode(tokens[:-1]), refs) for tokens, refs in zip(greedy, references, strict=True)]
    gains = np.array([
        score(tokenizer.decode([one for one in tokens if one != tokenizer.end]), references[owner]) - before[owner]
        for tokens, owner in zip(begun, owners, strict=True)
    ])  # fmt: skip
    return Deviations(owners, givens, others, logs, values, 100.0 * gains)
