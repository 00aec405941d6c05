"""An approximate search for the best items of a large catalogue: a few parts of it are looked through, not all items."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqel.errors import ConfigError
from seqel.extras import require
from seqel.networks.heads.base import ActionHead
from seqel.networks.heads.item_scorer import ItemScorer
from seqel.networks.qnetwork import QNetwork

__all__ = ["FEW", "ItemIndex", "item_query"]

FEW = 20_000  # items, up to which all of them are scored: an index would not be faster
PROBED = 128  # parts that are looked through
SAMPLE = 40  # items per part from which the parts are made


class ItemIndex:
    """An inverted file of the items' vectors (Jegou et al. 2011, IEEE TPAMI 33, product quantisation left out), by faiss.

    The catalogue is split into about sqrt(items) parts by k-means; the items of the `PROBED` parts whose centre has the
    largest product with the query are scored. It holds a copy of the vectors.

    Raises ConfigError: the agent's scores are not products with its items' vectors. MissingExtraError: faiss is missing.
    """

    def __init__(self, network: QNetwork) -> None:
        scorers(network)
        assert network.tokens.items is not None
        with torch.inference_mode():
            vectors = np.ascontiguousarray(network.tokens.items().float().cpu().numpy())
        items, width = vectors.shape
        faiss = require("faiss")
        faiss.omp_set_num_threads(torch.get_num_threads())
        parts = max(1, round(items**0.5))
        self._coarse = faiss.IndexFlatIP(width)  # kept: the index only refers to it
        self._index: Any = faiss.IndexIVFFlat(self._coarse, width, parts, faiss.METRIC_INNER_PRODUCT)
        sample = np.random.default_rng(0).permutation(items)[: SAMPLE * parts]
        self._index.train(vectors[np.sort(sample)])
        self._index.add(vectors)
        self._index.nprobe = min(PROBED, parts)

    def search(self, query: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return items with large products with each query (Q, D), best first, and the products: (Q, k) each.

        Where fewer than k are found, the number is -1.
        """
        scores, found = self._index.search(np.ascontiguousarray(query, np.float32), k)
        return found.astype(np.int64), scores


def item_query(network: QNetwork, h: Tensor) -> NDArray[np.float32]:
    """Return the vectors whose products with the items' vectors order the items as the scores do, h (..., D) -> (..., D)."""
    with torch.inference_mode():
        found = sum(weight * scorer.queries(h)[..., 0, :] for scorer, weight in scorers(network))
        assert isinstance(found, Tensor)
        query: NDArray[np.float32] = found.float().cpu().numpy()
    return query


def scorers(network: QNetwork) -> list[tuple[ItemScorer, float]]:
    """Return the layers whose products decide, and their weights.

    Raises ConfigError: the scores of the network are not sums of products with the items' vectors.
    """
    config = network.config
    if config.actions != "items" or config.value != "scalar" or config.policy_head == "constraint":
        raise ConfigError(
            "approximate search: expected network.actions = 'items', network.value = 'scalar' and no "
            f"network.policy_head = 'constraint', got {config.actions!r}, {config.value!r} and {config.policy_head!r}"
        )
    values = network.head.advantage
    assert isinstance(values, ItemScorer)
    if config.policy_head != "greedy":
        return [(values, 1.0)]
    policy = network.part("policy")
    assert isinstance(policy, ActionHead)
    assert isinstance(policy.linear, ItemScorer)
    return [(policy.linear, 1.0)] + ([(values, config.value_weight)] if config.value_weight else [])
