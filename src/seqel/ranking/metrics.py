"""Measures of ranked lists: accuracy, coverage, novelty, popularity and diversity.

Lists are (Q, K) codes of items, best first, `NO_ITEM` where a list is shorter. Every metric is one number per list, so that
lists of two rankers can be compared user by user.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seqel.agents.ranking import NO_ITEM
from seqel.errors import DataError

__all__ = [
    "coverage",
    "hit_rate",
    "hits",
    "list_diversity",
    "mean_reciprocal_rank",
    "ndcg",
    "novelty",
    "popularity",
    "unit_vectors",
    "weighted_ndcg",
]

Lists = NDArray[np.int64]
Numbers = NDArray[np.float64]


def hits(lists: Lists, targets: Sequence[NDArray[np.integer]]) -> NDArray[np.bool_]:
    """Return which items of each list are among those that came next, (Q, K).

    Raises DataError: there is not one list per question, or a list contains an item twice.
    """
    if len(lists) != len(targets):
        raise DataError(f"expected a list for each of {len(targets)} questions, got {len(lists)}")
    ordered = np.sort(lists, axis=1)
    twice = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != NO_ITEM)
    if twice.any():
        row = int(twice.any(axis=1).argmax())
        raise DataError(f"list {row}: expected each item once, got item {ordered[row, 1:][twice[row]][0]} twice")
    if not len(lists):
        return np.zeros(lists.shape, np.bool_)
    # (question, item) as one number, so that one search answers all
    width = 2 + max(int(lists.max()), *(int(one.max(initial=0)) for one in targets))
    rows = np.repeat(np.arange(len(targets)), [len(one) for one in targets])
    true = rows * width + np.concatenate(targets)
    found: NDArray[np.bool_] = np.isin(np.arange(len(lists))[:, None] * width + lists, true) & (lists != NO_ITEM)
    return found


def hit_rate(hit: NDArray[np.bool_], k: int) -> Numbers:
    """Return 1 for each list with a hit among its first k items, else 0, (Q,)."""
    found: Numbers = np.asarray(hit[:, :k].any(axis=1), np.float64)
    return found


def mean_reciprocal_rank(hit: NDArray[np.bool_], k: int) -> Numbers:
    """Return 1 over the place (from 1) of the first hit among the first k items, else 0, (Q,)."""
    part = hit[:, :k]
    found: Numbers = np.where(part.any(axis=1), 1.0 / (1.0 + part.argmax(axis=1)), 0.0)
    return found


def ndcg(hit: NDArray[np.bool_], k: int, targets: Sequence[NDArray[np.integer]] | None = None) -> Numbers:
    """Return the normalised discounted cumulative gain of the first k items, (Q,) in [0, 1].

    Jarvelin and Kekalainen 2002, with gains 0 and 1: each hit at place p counts 1 / log2(p + 1), over what the best
    possible list would have. targets: the next items of each question; None: one each.
    """
    count = np.ones(len(hit), np.int64) if targets is None else np.array([len(np.unique(one)) for one in targets])
    worth = _discounts(k)
    best = np.concatenate([[0.0], np.cumsum(worth)])[np.minimum(count, k)]
    found: Numbers = (hit[:, :k] * worth[: hit.shape[1]]).sum(axis=1) / np.where(best > 0.0, best, 1.0)
    return found


def weighted_ndcg(hit: NDArray[np.bool_], k: int, weight: NDArray[np.floating]) -> Numbers:
    """Return the discounted gain of the one item that came next, times its weight (Q,), such as its rating; (Q,)."""
    found: Numbers = ndcg(hit, k) * weight
    return found


def coverage(lists: Lists, items: int) -> float:
    """Return the share of the catalogue that occurs in at least one list."""
    return len(np.unique(lists[lists != NO_ITEM])) / items


def novelty(lists: Lists, counts: NDArray[np.integer]) -> Numbers:
    """Return the mean surprise of each list's items in bits, -log2 of their share of the interactions (Q,).

    Zhou et al. 2010, PNAS 107, 4511-4515. counts (items,): in the training data; one is added to each.
    """
    bits = -np.log2((counts + 1.0) / (counts + 1.0).sum())
    return _mean_over_list(lists, bits)


def popularity(lists: Lists, counts: NDArray[np.integer]) -> Numbers:
    """Return the mean number of interactions of each list's items in the training data, (Q,): popularity bias."""
    return _mean_over_list(lists, counts.astype(np.float64))


def list_diversity(lists: Lists, vectors: NDArray[np.floating]) -> Numbers:
    """Return the mean of 1 - cosine over the pairs of a list's items, (Q,); 0 for lists of fewer than two.

    Intra-list diversity: Ziegler et al. 2005, WWW. vectors (items, F): such as genres; a zero vector is at distance 1 from
    all others.
    """
    unit = unit_vectors(vectors)
    there = lists != NO_ITEM
    chosen = unit[np.where(there, lists, 0)] * there[..., None]  # (Q, K, F)
    n = there.sum(axis=1)
    # the sum over pairs of different items is that of the square of the sum, less each item with itself
    same = np.square(chosen).sum(axis=(1, 2))
    total = np.square(chosen.sum(axis=1)).sum(axis=1) - same
    pairs = n * (n - 1)
    found: Numbers = np.where(pairs > 0, 1.0 - total / np.where(pairs > 0, pairs, 1), 0.0)
    return found


def unit_vectors(vectors: NDArray[np.floating]) -> Numbers:
    """Return vectors (items, F) with length 1; a zero vector stays as it is."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: Numbers = vectors / np.where(length > 0.0, length, 1.0)
    return found


def _discounts(k: int) -> Numbers:
    found: Numbers = 1.0 / np.log2(np.arange(2, k + 2))
    return found


def _mean_over_list(lists: Lists, number: Numbers) -> Numbers:
    there = lists != NO_ITEM
    total = (number[np.where(there, lists, 0)] * there).sum(axis=1)
    found: Numbers = total / np.maximum(there.sum(axis=1), 1)
    return found
