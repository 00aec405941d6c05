"""Top lists: equal to sorting everything, with ties by code, excluded items and short catalogues."""

from __future__ import annotations

import numpy as np
import pytest

from seqel.agents.ranking import NO_ITEM, exclude, top_items
from seqel.errors import ConfigError


def test_it_equals_sorting_everything() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        items, k = int(rng.integers(1, 30)), int(rng.integers(1, 12))
        scores = rng.integers(0, 5, size=(4, items)).astype(np.float32)  # many ties
        scores[rng.random(scores.shape) < 0.3] = -np.inf
        found, values = top_items(scores, k)
        for row in range(4):
            order = [int(i) for i in np.lexsort((np.arange(items), -scores[row])) if np.isfinite(scores[row, i])][:k]
            assert found[row].tolist() == order + [NO_ITEM] * (k - len(order))
            assert values[row, : len(order)].tolist() == scores[row, order].tolist()
            assert np.isneginf(values[row, len(order) :]).all()


def test_items_that_were_seen_are_excluded() -> None:
    scores = np.array([[1.0, 3.0, 2.0], [3.0, 2.0, 1.0]], np.float32)
    exclude(scores, [np.array([1, 1]), np.array([], np.int64)])
    assert top_items(scores, 2)[0].tolist() == [[2, 0], [0, 1]]
    exclude(scores, [])
    exclude(scores, [np.array([0, 2]), np.array([0, 1, 2])])
    assert top_items(scores, 2)[0].tolist() == [[NO_ITEM, NO_ITEM], [NO_ITEM, NO_ITEM]]


def test_a_list_without_items_is_refused() -> None:
    with pytest.raises(ConfigError, match="k: expected at least 1 item, got 0"):
        top_items(np.zeros((1, 3), np.float32), 0)
