"""Measures of lists, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from seqel.agents.ranking import NO_ITEM
from seqel.errors import DataError
from seqel.ranking import metrics

LISTS = np.array([[3, 1, 2], [0, 4, NO_ITEM], [1, 0, 2]])
TARGETS = [np.array([1]), np.array([4, 0, 9]), np.array([5])]


def test_hits() -> None:
    found = metrics.hits(LISTS, TARGETS)
    assert found.tolist() == [[False, True, False], [True, True, False], [False, False, False]]
    assert metrics.hits(np.zeros((0, 3), np.int64), []).shape == (0, 3)


def test_accuracy() -> None:
    hit = metrics.hits(LISTS, TARGETS)
    assert metrics.hit_rate(hit, 1).tolist() == [0, 1, 0] and metrics.hit_rate(hit, 3).tolist() == [1, 1, 0]
    assert metrics.mean_reciprocal_rank(hit, 3).tolist() == [0.5, 1, 0]
    # one item at place 2 of one: 1 / log2(3); places 1 and 2 of three, of which a list of 2 can hold two
    np.testing.assert_allclose(metrics.ndcg(hit, 3, TARGETS)[0], 1 / np.log2(3))
    np.testing.assert_allclose(metrics.ndcg(hit, 2, TARGETS)[1], 1.0)
    ideal = 1 + 1 / np.log2(3) + 1 / 2
    np.testing.assert_allclose(metrics.ndcg(hit, 3, TARGETS)[1], (1 + 1 / np.log2(3)) / ideal)
    np.testing.assert_allclose(metrics.weighted_ndcg(hit[:1], 3, np.array([4.0])), [4 / np.log2(3)])
    assert metrics.ndcg(hit, 10)[2] == 0.0  # a list may be shorter than the cut


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_figures_equal_those_of_scikit_learn(cut: int) -> None:
    """NDCG for one to five targets; reciprocal rank and hit rate for one target."""
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    scores = rng.random((50, 30))
    lists = np.argsort(-scores, axis=1)[:, :20]
    many = [rng.choice(30, size=rng.integers(1, 6), replace=False) for _ in scores]
    relevant = np.zeros_like(scores)
    for row, targets in enumerate(many):
        relevant[row, targets] = 1.0
    expected = [sklearn.ndcg_score(relevant[[row]], scores[[row]], k=cut) for row in range(len(scores))]
    np.testing.assert_allclose(metrics.ndcg(metrics.hits(lists, many), cut, many), expected, atol=1e-12)
    single = [targets[:1] for targets in many]
    first = np.array([one[0] for one in single])
    hit = metrics.hits(lists, single)
    expected_rate = sklearn.top_k_accuracy_score(first, scores, k=cut, labels=np.arange(30))
    assert metrics.hit_rate(hit, cut).mean() == pytest.approx(expected_rate)
    found = metrics.mean_reciprocal_rank(hit, cut)
    within = found > 0.0  # scikit-learn's has no cut: of one target, its precision is the reciprocal rank
    truth = np.eye(30)[first]
    expected_ranks = [
        sklearn.label_ranking_average_precision_score(truth[[row]], scores[[row]]) for row in np.flatnonzero(within)
    ]
    np.testing.assert_allclose(found[within], expected_ranks)
    assert within.sum() == metrics.hit_rate(hit, cut).sum()


def test_a_target_that_comes_twice_counts_once() -> None:
    hit = metrics.hits(LISTS[:1], [np.array([3, 3])])
    assert metrics.ndcg(hit, 3, [np.array([3, 3])]).tolist() == [1.0]


def test_beyond_accuracy() -> None:
    counts = np.array([7, 3, 1, 0, 0])
    assert metrics.coverage(LISTS, 5) == 1.0 and metrics.coverage(LISTS[1:2], 5) == 0.4
    np.testing.assert_allclose(metrics.popularity(LISTS, counts), [4 / 3, 3.5, 11 / 3])
    np.testing.assert_allclose(metrics.novelty(LISTS, counts)[1], (np.log2(16 / 8) + np.log2(16 / 1)) / 2)
    vectors = np.array([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])
    found = metrics.list_diversity(LISTS, vectors)
    # 0 and 2 are alike, 1 is at a right angle to both; 3 has no features; 0 and 4 are at 45 degrees
    np.testing.assert_allclose(found, [1.0, 1 - np.sqrt(0.5), 2 / 3])
    assert metrics.list_diversity(np.array([[0, NO_ITEM]]), vectors).tolist() == [0.0]


@pytest.mark.parametrize(
    ("lists", "targets", "message"),
    [
        (LISTS, TARGETS[:2], "expected a list for each of 2 questions, got 3"),
        (np.array([[1, 2], [3, 3]]), TARGETS[:2], "list 1: expected each item once, got item 3 twice"),
    ],
)
def test_lists_that_cannot_be_right(lists: np.ndarray, targets: list[np.ndarray], message: str) -> None:
    with pytest.raises(DataError, match=message):
        metrics.hits(lists, targets)
