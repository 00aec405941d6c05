"""Baseline rankers without a network: popularity, item neighbours, and a linear model.

Each is created from the training interactions. Called with questions, it returns the score of every item, (Q, items).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from seqel.errors import ConfigError
from seqel.ranking.interactions import Interactions, Queries

__all__ = ["Ranker", "ease", "item_neighbours", "popular", "recently_popular"]

Scores = NDArray[np.float32]
Ranker = Callable[[Queries], Scores]


def popular(train: Interactions) -> Ranker:
    """Score items by how often they occur."""
    counts = train.counts.astype(np.float32)
    return lambda queries: np.tile(counts, (len(queries), 1))


def recently_popular(train: Interactions, span: float) -> Ranker:
    """Score items by how often they occur in the last `span` (in the unit of the times) of the training data."""
    latest = train.subset(train.time > train.time.max() - span)
    tie = train.counts / (train.counts.max() + 1.0)  # items that do not occur there: by all of the data
    counts = (latest.counts + tie).astype(np.float32)
    return lambda queries: np.tile(counts, (len(queries), 1))


def item_neighbours(train: Interactions, neighbours: int = 100, weighting: str = "tf-idf") -> Ranker:
    """Score items by their similarity to those of the history: the cosine between the items' columns of users.

    weighting: "tf-idf" weights users by how few items they know, "none" counts all alike. Each item keeps its nearest
    `neighbours`. Sarwar et al. 2001, WWW.

    Raises ConfigError if an argument is out of range.
    """
    if neighbours < 1 or weighting not in ("tf-idf", "none"):
        raise ConfigError(
            f"item_neighbours: expected at least 1 neighbour and 'tf-idf' or 'none', got {neighbours} and {weighting!r}"
        )
    matrix = _matrix(train.user, train.item, len(train.users), len(train.items))
    if weighting == "tf-idf":
        known = np.asarray(matrix.sum(axis=1)).ravel()
        matrix = sparse.diags_array(np.log((len(train.items) + 1.0) / (known + 1.0)) + 1.0) @ matrix
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=0)).ravel())
    unit = (matrix @ sparse.diags_array(1.0 / np.where(length > 0.0, length, 1.0))).tocsc()
    kept = []
    for first in range(0, len(train.items), 1_024):  # blocks of items, so that no items x items matrix is dense
        block = (unit[:, first : first + 1_024].T @ unit).toarray()
        block[np.arange(len(block)), first + np.arange(len(block))] = 0.0
        if block.shape[1] > neighbours:
            least = np.partition(block, -neighbours, axis=1)[:, -neighbours, None]
            block[block < least] = 0.0
        kept.append(sparse.csr_array(block.astype(np.float32)))
    similar = sparse.vstack(kept).tocsr()
    return lambda queries: (_known(queries) @ similar).toarray().astype(np.float32)


def ease(train: Interactions, regularisation: float = 500.0) -> Ranker:
    """Score items by a linear item-item model (EASE), in which no item predicts itself.

    Steck 2019, arXiv:1905.03375: B = I - P / diag(P), where P is the inverse of X'X + lambda I. Holds two dense
    (items, items) matrices.

    Raises ConfigError unless the regularisation is above 0.
    """
    if regularisation <= 0.0:
        raise ConfigError(f"ease: expected a regularisation above 0, got {regularisation}")
    matrix = _matrix(train.user, train.item, len(train.users), len(train.items))
    gram = (matrix.T @ matrix).toarray().astype(np.float64 if len(train.items) < 5_000 else np.float32)
    gram[np.diag_indices_from(gram)] += regularisation
    inverse = np.linalg.inv(gram)
    weights = (-inverse / np.diag(inverse)).astype(np.float32)
    np.fill_diagonal(weights, 0.0)
    return lambda queries: np.asarray(_known(queries) @ weights, np.float32)


def _matrix(user: NDArray[np.int64], item: NDArray[np.int64], users: int, items: int) -> Any:
    """Return which user knows which item, (users, items)."""
    found = sparse.csr_array((np.ones(len(user), np.float32), (user, item)), shape=(users, items))
    found.data[:] = 1.0  # an interaction that comes twice counts once
    return found


def _known(queries: Queries) -> Any:
    """Return the items of each history, (Q, items)."""
    histories = queries.histories()
    rows = np.repeat(np.arange(len(queries)), [len(one) for one in histories])
    return _matrix(rows, np.concatenate(histories), len(queries), len(queries.source.items))
