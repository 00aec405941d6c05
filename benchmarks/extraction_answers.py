"""Answers as spans of words: how they are read from scores of words, and how they are compared with the right ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extraction_data import Example, Span
from seqel.evaluation.statistics import bootstrap_interval

__all__ = ["DECODERS", "best_span", "figures", "longest_run", "scores", "token_f1"]


def token_f1(given: Span, right: Span) -> float:
    """Return the F1 of the words of two spans; 0 if one is empty or they have none in common."""
    both = min(given[1], right[1]) - max(given[0], right[0])
    return 0.0 if both <= 0 else 2.0 * both / (given[1] - given[0] + right[1] - right[0])


def longest_run(margin: NDArray[np.float64]) -> Span:
    """Return the longest run of words inside, (0, 0) if there is none: the agent's own decisions."""
    best, start = (0, 0), 0
    for k, inside in enumerate([*(margin > 0), False]):
        if not inside:
            best, start = max(best, (start, k), key=lambda span: span[1] - span[0]), k + 1
    return best


def best_span(margin: NDArray[np.float64]) -> Span:
    """Return the span with the largest sum, which is never empty."""
    total = np.concatenate([[0.0], np.cumsum(margin)])
    gain = np.where(np.tri(len(total), k=-1, dtype=bool).T, total[None, :] - total[:, None], -np.inf)
    start, end = np.unravel_index(int(gain.argmax()), gain.shape)
    return int(start), int(end)


DECODERS: dict[str, Callable[[NDArray[np.float64]], Span]] = {"own decisions": longest_run, "best span": best_span}


def scores(answers: Sequence[Span], some: Sequence[Example]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return exact match and token F1 of each answer, between 0 and 1."""
    exact = np.array([float(answer == one.span) for answer, one in zip(answers, some, strict=True)])
    return exact, np.array([token_f1(answer, one.span) for answer, one in zip(answers, some, strict=True)])


def figures(answers: Sequence[Span], some: Sequence[Example], known: set[str]) -> dict[str, Any]:
    """Return exact match and F1 with 95 % intervals over examples, of all, of known and of new services."""
    exact, f1 = scores(answers, some)
    old = np.array([one.service in known for one in some])
    return {
        name: {
            "examples": int(part.sum()),
            "exact": float(exact[part].mean()), "exact_interval": bootstrap_interval(exact[part]),
            "f1": float(f1[part].mean()), "f1_interval": bootstrap_interval(f1[part]),
        }
        for name, part in (("all", old | True), ("known", old), ("new", ~old))
    }  # fmt: skip
