"""Approximate search: it finds nearly all of what scoring every item finds, in the same order, without items seen before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seqel.agents import item_index, item_ranking
from seqel.errors import ConfigError
from support_ranking import make_agent

pytest.importorskip("faiss")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_ranking, "FEW", 100)


@pytest.mark.parametrize(
    "changes",
    [{"policy_head": "greedy"}, {"policy_head": "greedy", "value_weight": 3.0}, {}],
    ids=["policy", "policy and values", "values"],
)
def test_it_finds_the_best_items(changes: dict[str, Any]) -> None:
    one, rng = make_agent(4_000, width=16, **changes), np.random.default_rng(0)
    found = 0.0
    for _ in range(20):
        history = rng.integers(4_000, size=6).tolist()
        exact, scores = one.rank(history, k=20)
        items, values = one.rank(history, k=20, approximate=True)
        assert len(items) == 20 and not set(items) & set(history) and (np.diff(values) <= 0).all()
        both = [(place, items.index(item)) for place, item in enumerate(exact) if item in items]
        found += len(both) / 20 / 20
        assert [b for _, b in both] == sorted(b for _, b in both)  # the same order
        gap = [scores[a] - values[b] for a, b in both]
        np.testing.assert_allclose(gap, gap[0], atol=1e-4)  # the same scores, up to a constant
    assert found > 0.9


def test_few_parts_give_exactly_what_scoring_every_item_gives() -> None:
    one = make_agent(400, policy_head="greedy")  # 20 parts, all of which are looked through
    for history in ([], [3], [5, 5, 399]):
        assert one.rank(history, k=10, approximate=True)[0] == one.rank(history, k=10)[0]
        again = one.rank(history, k=10, approximate=True, exclude_seen=False)[0]
        assert again == one.rank(history, k=10, exclude_seen=False)[0]
    everything = one.rank([7], k=1_000, approximate=True)[0]
    assert len(everything) == 399 and 7 not in everything


def test_a_small_catalogue_is_scored_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_index, "require", None)  # no index is made
    one = make_agent(100, policy_head="greedy")
    np.testing.assert_array_equal(one.rank([1], approximate=True)[1], one.rank([1])[1])


def test_what_is_refused() -> None:
    one = make_agent(200, policy_head="greedy")
    with pytest.raises(ConfigError, match="approximate=True takes no candidates"):
        one.rank([1], candidates=[2], approximate=True)
    with pytest.raises(ConfigError, match="k: expected at least 1"):
        one.rank([1], k=0, approximate=True)
    for changes in ({"value": "hl-gauss"}, {"policy_head": "constraint"}):
        with pytest.raises(ConfigError, match="approximate search: expected"):
            make_agent(200, **changes).rank([1], approximate=True)
