"""Baselines, against numbers worked out by hand or without sparse matrices."""

from __future__ import annotations

import numpy as np
import pytest

from seqel.errors import ConfigError
from seqel.ranking.baselines import ease, item_neighbours, popular, recently_popular
from seqel.ranking.interactions import Interactions, Queries


def data() -> Interactions:
    rng = np.random.default_rng(1)
    user, item = np.nonzero(rng.random((40, 12)) < 0.35)
    return Interactions.of(user, item, time=rng.random(len(user)), items=list(range(12)))


def questions(source: Interactions) -> Queries:
    starts = source.starts
    return Queries(source, np.arange(len(source.users)), starts[1:] - 1, starts[1:])


def known(queries: Queries) -> np.ndarray:
    found = np.zeros((len(queries), len(queries.source.items)))
    for row, one in enumerate(queries.histories()):
        found[row, one] = 1.0
    return found


def matrix(source: Interactions) -> np.ndarray:
    found = np.zeros((len(source.users), len(source.items)))
    found[source.user, source.item] = 1.0
    return found


def test_popularity() -> None:
    source = Interactions.of([0, 0, 1, 1, 2], ["b", "c", "b", "a", "c"], time=[0, 1, 2, 9, 10])
    asked = questions(source).subset(np.array([0, 1]))
    assert popular(source)(asked).tolist() == [[1, 2, 2]] * 2
    recent = recently_popular(source, 2.0)(asked)
    assert recent[0].argsort().tolist() == [1, 0, 2]  # a and c once each in the last two, c more often before; b never


def test_neighbours_equal_cosines() -> None:
    source, asked = data(), questions(data())
    x = matrix(source)
    for weighting in ("none", "tf-idf"):
        weighted = x if weighting == "none" else x * (np.log(13 / (x.sum(axis=1) + 1)) + 1)[:, None]
        length = np.linalg.norm(weighted, axis=0)
        similar = weighted.T @ weighted / length[:, None] / length
        np.fill_diagonal(similar, 0.0)
        found = item_neighbours(source, neighbours=12, weighting=weighting)(asked)
        np.testing.assert_allclose(found, known(asked) @ similar, atol=1e-5)
    least = np.sort(similar, axis=1)[:, -3, None]
    found = item_neighbours(source, neighbours=3)(asked)
    np.testing.assert_allclose(found, known(asked) @ np.where(similar >= least, similar, 0.0), atol=1e-5)


def test_ease_is_the_best_linear_model_without_the_item_itself() -> None:
    source, asked = data(), questions(data())
    x, regularisation = matrix(source), 3.0
    expected = np.zeros((12, 12))
    for item in range(12):  # ridge regression of each column on the others
        others = [one for one in range(12) if one != item]
        a = x[:, others]
        expected[others, item] = np.linalg.solve(a.T @ a + regularisation * np.eye(11), a.T @ x[:, item])
    np.testing.assert_allclose(ease(source, regularisation)(asked), known(asked) @ expected, atol=1e-5)


def test_arguments_out_of_range() -> None:
    with pytest.raises(ConfigError, match="expected a regularisation above 0, got 0"):
        ease(data(), 0.0)
    with pytest.raises(ConfigError, match="expected at least 1 neighbour and 'tf-idf' or 'none', got 0"):
        item_neighbours(data(), 0)
