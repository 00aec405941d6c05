"""Ranking: top lists equal to sorting everything, scores of histories equal to acting, names, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from seqel.agents import ranking
from seqel.agents.agent import Agent
from seqel.agents.ranking import NO_ITEM, exclude, history_scores, top_items
from seqel.datasets.encoding import CONSTANT
from seqel.errors import ConfigError, SpaceError
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ObservationSpec
from support_ranking import make_agent


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


def test_scores_of_histories_equal_acting_step_by_step() -> None:
    one, rng = make_agent(), np.random.default_rng(0)
    histories = [rng.integers(12, size=size) for size in (0, 9, 3, 1, 9)]
    ratings = [rng.random(len(history)).astype(np.float32) for history in histories]
    found = history_scores(one.network, histories, ratings, length=200)
    for row, (history, rating) in enumerate(zip(histories, ratings, strict=True)):
        decision, state = one.act({CONSTANT: np.zeros((1, 1), np.uint8)})
        for item, reward in zip(history, rating, strict=True):
            decision, state = one.act(
                {CONSTANT: np.zeros((1, 1), np.uint8)},
                state,
                reward=np.array([reward]),
                previous_action=np.array([item]),
            )
        np.testing.assert_allclose(found[row], decision.q[0], atol=1e-5)
    latest = history_scores(one.network, [history[-3:] for history in histories], None, length=200)
    np.testing.assert_array_equal(history_scores(one.network, histories, None, length=3), latest)


def test_many_histories_are_read_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    one, rng = make_agent(), np.random.default_rng(1)
    histories = [rng.integers(12, size=int(size)) for size in rng.integers(0, 20, size=50)]
    whole = history_scores(one.network, histories)
    monkeypatch.setattr(ranking, "TOKENS", 40)
    np.testing.assert_allclose(history_scores(one.network, histories), whole, atol=1e-5)


def test_an_agent_ranks_by_names() -> None:
    one = make_agent()
    one.info["encoding"] = {"actions": [f"film {code}" for code in range(12)]}
    items, scores = one.rank(["film 3", "film 7"], k=4)
    assert len(items) == 4 and not {"film 3", "film 7"} & set(items) and (np.diff(scores) <= 0).all()
    everything, _ = one.rank(["film 3", "film 7"], k=20, exclude_seen=False)
    assert sorted(everything) == sorted(one.info["encoding"]["actions"])
    some, _ = one.rank(["film 3"], candidates=["film 3", "film 1", "film 2"])
    assert sorted(some) == ["film 1", "film 2"]
    assert one.rank(everything)[0] == [] and len(one.rank([])[0]) == 12
    assert one.rank(["film 3"], rewards=[5.0])[1].tolist() != one.rank(["film 3"])[1].tolist()


def test_a_very_long_history_reads_as_its_latest_items() -> None:
    one, history = make_agent(), np.random.default_rng(2).integers(12, size=100_000).tolist()
    items, scores = one.rank(history, exclude_seen=False)
    latest, expected = one.rank(history[-200:], exclude_seen=False)
    assert items == latest
    np.testing.assert_array_equal(scores, expected)
    assert one.rank(history)[0] == []  # everything was seen


def test_features_are_added_with_their_weights() -> None:
    one, features = make_agent(), np.zeros((12, 2))
    features[5] = 1.0, -1.0
    plain = dict(zip(*one.rank([1, 2]), strict=True))
    found = dict(zip(*one.rank([1, 2], features=features, weights=[3.0, 1.0]), strict=True))
    assert found[5] == pytest.approx(plain[5] + 2.0, rel=1e-5)
    assert all(found[item] == plain[item] for item in plain if item != 5)


def test_influence_is_what_the_score_loses_without_an_item() -> None:
    one = make_agent()
    score = dict(zip(*one.rank([1, 2, 3], rewards=[5.0, 1.0, 2.0]), strict=True))[7]
    without = dict(zip(*one.rank([1, 3], rewards=[5.0, 2.0]), strict=True))[7]
    found = one.rank_influence([1, 2, 3], [8, 7], rewards=[5.0, 1.0, 2.0])
    assert found.shape == (2, 3) and found[1, 1] == pytest.approx(score - without, abs=1e-5)
    assert one.rank_influence([4, 5, 6, 1, 2, 3], [7], length=2)[0, :4].tolist() == [0.0] * 4
    assert one.rank_influence([], [7]).shape == (1, 0)
    with pytest.raises(SpaceError, match="items: expected items of the catalogue of 12, got '99'"):
        one.rank_influence([1], [99])


def test_without_names_items_are_numbers() -> None:
    assert set(make_agent().rank([1, 2])[0]) == set(range(12)) - {1, 2}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"history": ["film 13"]}, r"history: expected items of the catalogue of 12, got 'film 13'; did you mean"),
        ({"history": [], "candidates": ["x"]}, "candidates: expected items of the catalogue of 12, got 'x'"),
        ({"history": "film 1"}, "history: expected a list of items, got the text 'film 1'"),
        ({"history": ["film 1"], "rewards": [float("nan")]}, "rewards: expected 1 finite numbers"),
        ({"history": ["film 1"], "rewards": [1.0, 2.0]}, "rewards: expected 1 finite numbers"),
        ({"history": [], "weights": [1.0]}, "expected features and weights together"),
        (
            {"history": [], "features": np.zeros((12, 2)), "weights": [1.0]},
            r"expected shape \(12, 1\), items and weights",
        ),
        (
            {"history": [], "features": np.full((12, 1), np.nan), "weights": [1.0]},
            "expected finite features and weights",
        ),
    ],
)
def test_what_cannot_be_ranked(given: dict[str, Any], message: str) -> None:
    one = make_agent()
    one.info["encoding"] = {"actions": [f"film {code}" for code in range(12)]}
    with pytest.raises(SpaceError, match=message):
        one.rank(**given)


def test_an_agent_that_observes_more_is_refused() -> None:
    one = make_agent()
    spec = ObservationSpec.from_space(spaces.Box(0.0, 1.0, (3,)))
    other = Agent(QNetwork(one.network.config, spec, one.action_spec))
    with pytest.raises(ConfigError, match="expected an agent that observes nothing but its history"):
        other.rank([1, 2])


def test_a_large_catalogue_is_not_searched_for_similar_names(monkeypatch: pytest.MonkeyPatch) -> None:
    one = make_agent()
    monkeypatch.setattr(ranking, "COMPARED", 11)
    with pytest.raises(SpaceError, match=r"got '111'$"):
        one.rank([111])
