"""Occlusion: by how much the explained score falls if one step is hidden."""

from __future__ import annotations

import torch
from torch import Tensor

from seqel.explanation.methods.base import Method, decision_rows, empty
from seqel.explanation.question import Explained
from seqel.explanation.reading import Reading

__all__ = ["METHOD", "changes", "occlude"]


def occlude(reading: Reading, explained: Explained) -> Tensor:
    """Return the explained score less that with a step hidden, for every step up to each decision: (S, T+1).

    Source: Zeiler & Fergus 2014, arXiv:1311.2901. Differs: a step's token is replaced by the mean token of the episode, where
    the paper covers a patch of an image with grey. One pass per step serves all decisions, because hiding a step changes only
    the decisions from there on.
    """
    steps = torch.arange(max(explained.steps) + 1, device=reading.tokens.device)
    found = empty(reading, explained)
    found[:, : len(steps)] = changes(reading, explained, steps, reading.mean_token.expand(len(steps), -1)).T
    return found


@torch.inference_mode()
def changes(reading: Reading, explained: Explained, steps: Tensor, tokens: Tensor) -> Tensor:
    """Return the explained score less that with another token at one step: steps (N,) ascending, tokens (N, D) -> (N, S).

    It is exactly 0 for decisions that the step cannot change.
    """
    found = empty(reading, explained).new_zeros(len(steps), len(explained.steps))
    decisions = torch.tensor(explained.steps, device=found.device)
    last = int(decisions.max())
    base = explained.values(reading, reading.states(reading.tokens[None])[0, decisions])  # (S,)
    for part, low, h in reading.variants(steps, tokens, last):
        within = [step for step in explained.steps if low <= step < low + h.shape[1]]
        if not within:
            continue
        rows = decision_rows(explained, within)
        now = explained.values(reading, h[:, decisions[rows] - low], rows)  # (n, s)
        found[part, rows] = base[rows] - now
    apart = decisions - steps[:, None]
    return torch.where((apart >= 0) & (apart < reading.reach), found, 0.0)


METHOD = Method(
    "occlusion",
    "by how much the explained score falls if the step is hidden",
    occlude,
    signed=True,
    order=0,
)
