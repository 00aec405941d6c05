"""Lists whose items differ: maximal marginal relevance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqel.agents.ranking import NO_ITEM
from seqel.errors import ConfigError
from seqel.ranking.metrics import unit_vectors

__all__ = ["diversify"]


def diversify(
    lists: NDArray[np.int64],
    scores: NDArray[np.floating],
    vectors: NDArray[np.floating],
    k: int,
    trade_off: float = 0.7,
) -> NDArray[np.int64]:
    """Choose k of the N items of each list, one after another: relevant ones that are unlike those already chosen.

    Carbonell and Goldstein 1998, SIGIR: the next item has the largest trade_off * relevance - (1 - trade_off) * similarity,
    where similarity is the largest cosine with an item already chosen. Differs: relevance is the score scaled to 0 to 1
    within the list, so that the trade-off means the same for every ranker.

    lists, scores: (Q, N), as `top_items` returns them. vectors: (items, F), such as genres. trade_off: 1 keeps the order.

    Returns (Q, k), `NO_ITEM` where a list is shorter.

    Raises ConfigError: k or trade_off is out of range.
    """
    if k < 1 or not 0.0 <= trade_off <= 1.0:
        raise ConfigError(f"diversify: expected k of at least 1 and trade_off from 0 to 1, got {k} and {trade_off}")
    there = lists != NO_ITEM
    unit = unit_vectors(vectors)[np.where(there, lists, 0)]  # (Q, N, F)
    finite = np.where(there, scores, np.nan)
    low, high = (
        np.nanmin(finite, axis=1, keepdims=True, initial=np.inf),
        np.nanmax(finite, axis=1, keepdims=True, initial=-np.inf),
    )
    relevance = np.where(there, (finite - low) / np.where(high > low, high - low, 1.0), -np.inf)
    similar = np.zeros(lists.shape)
    rows, left = np.arange(len(lists)), there.copy()
    found = np.full((len(lists), k), NO_ITEM, np.int64)
    for place in range(min(k, lists.shape[1])):
        worth = np.where(left, trade_off * relevance - (1.0 - trade_off) * similar, -np.inf)
        best = worth.argmax(axis=1)
        some = left[rows, best]
        found[some, place] = lists[rows, best][some]
        left[rows, best] = False
        cosine = np.einsum("qnf,qf->qn", unit, unit[rows, best])
        similar = cosine if place == 0 else np.maximum(similar, cosine)
    return found
