"""Diverse lists: worked out by hand, with both ends of the trade-off."""

from __future__ import annotations

import numpy as np
import pytest

from seqel.agents.ranking import NO_ITEM
from seqel.errors import ConfigError
from seqel.ranking.diversity import diversify
from seqel.ranking.metrics import list_diversity

VECTORS = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
LISTS, SCORES = np.array([[0, 1, 3, 2]]), np.array([[4.0, 3.0, 2.0, 0.0]])


def test_by_hand() -> None:
    # relevance 1, 0.75, 0.5, 0. After item 0: 1 is as 0 (cosine 1), 3 at 45 degrees, 2 at a right angle
    assert diversify(LISTS, SCORES, VECTORS, 2, trade_off=1.0).tolist() == [[0, 1]]
    # 1: 0.375 - 0.5; 3: 0.25 - 0.354; 2: 0
    assert diversify(LISTS, SCORES, VECTORS, 3, trade_off=0.5).tolist() == [[0, 2, 3]]
    # 1: 0.525 - 0.3; 3: 0.35 - 0.212; 2: 0
    assert diversify(LISTS, SCORES, VECTORS, 2, trade_off=0.7).tolist() == [[0, 1]]
    assert diversify(LISTS, SCORES, VECTORS, 4, trade_off=0.0)[0, :2].tolist() == [0, 2]


def test_short_lists_and_equal_scores() -> None:
    lists = np.array([[3, 2, NO_ITEM], [NO_ITEM] * 3])
    found = diversify(lists, np.where(lists >= 0, 1.0, -np.inf), VECTORS, 5)
    assert found.tolist() == [[3, 2, NO_ITEM, NO_ITEM, NO_ITEM], [NO_ITEM] * 5]


def test_lists_become_more_diverse() -> None:
    rng = np.random.default_rng(0)
    vectors, scores = rng.normal(size=(200, 4)), -np.sort(-rng.normal(size=(20, 50)), axis=1)
    lists = np.stack([rng.permutation(200)[:50] for _ in range(20)])
    found = [list_diversity(diversify(lists, scores, vectors, 10, one), vectors).mean() for one in (1.0, 0.7, 0.3)]
    assert found[0] + 0.05 < found[1] < found[2]


@pytest.mark.parametrize("given", [{"k": 0}, {"k": 3, "trade_off": 1.1}])
def test_arguments_out_of_range(given: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected k of at least 1 and trade_off from 0 to 1"):
        diversify(LISTS, SCORES, VECTORS, **given)  # type: ignore[arg-type]
