"""The interface of a method of attribution.

A method is a module of this folder that defines `METHOD`. `registry.py` finds it by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from seqel.explanation.question import Explained
from seqel.explanation.reading import Reading

__all__ = ["Method", "decision_rows", "empty"]


@dataclass(frozen=True, slots=True)
class Method:
    """One method of attribution.

    compute: reading, explained -> (S, T+1): row i has what each step contributes to the i-th decision, 0 for steps after it.
    """

    title: str  # a few words, for people
    meaning: str  # what a number means, one sentence
    compute: Callable[[Reading, Explained], Tensor]
    signed: (
        bool  # positive numbers raise the explained score and negative ones lower it; else all are shares of attention
    )
    needs_attention: bool = False
    needs_others: bool = False  # other episodes, in `reading.others`
    order: int = 100  # place in lists


def empty(reading: Reading, explained: Explained) -> Tensor:
    """Return zeros (S, T+1)."""
    return torch.zeros(len(explained.steps), len(reading), device=reading.tokens.device)


def decision_rows(explained: Explained, decisions: list[int]) -> Tensor:
    """Return which rows of the result belong to these decisions, in their order."""
    place = {step: row for row, step in enumerate(explained.steps)}
    return torch.tensor([place[step] for step in decisions], dtype=torch.int64, device=explained.codes.device)
