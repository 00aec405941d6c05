"""Features in a ranking: weights that made the choices are found again, and useless features stay without weight."""

from __future__ import annotations

import numpy as np
import pytest

from seqel.errors import ConfigError, DataError
from seqel.ranking import Interactions, Queries, evaluate_ranker
from seqel.ranking.combine import fit_combination

USERS, ITEMS = 2_000, 30


def choices() -> tuple[Interactions, np.ndarray, np.ndarray]:
    """Two items per user: any one, then one with a chance that depends on a score and on one of two features."""
    rng = np.random.default_rng(0)
    score, features = rng.normal(size=ITEMS), rng.normal(size=(ITEMS, 2)) * [1.0, 10.0] + [0.0, 100.0]
    logits = score / 0.5 + 1.5 * features[:, 0]
    first = rng.integers(ITEMS, size=USERS)
    noise = rng.gumbel(size=(USERS, ITEMS)) + logits
    noise[np.arange(USERS), first] = -np.inf
    item = np.stack([first, noise.argmax(axis=1)], axis=1).ravel()
    return Interactions.of(np.arange(USERS).repeat(2), item, items=list(range(ITEMS))), score, features


def asked(data: Interactions) -> Queries:
    starts = data.starts[:-1]
    return Queries(data, np.arange(USERS), starts + 1, starts + 2)


def test_weights_are_found_again() -> None:
    data, score, features = choices()

    def ranker(queries: Queries) -> np.ndarray:
        return np.tile(score.astype(np.float32), (len(queries), 1))

    found = fit_combination(ranker, features, asked(data), candidates=ITEMS - 1)
    assert found.temperature == pytest.approx(0.5, abs=0.06)
    np.testing.assert_allclose(found.weights, [0.75, 0.0], atol=0.08)  # 1.5 per unit, in units of the score
    assert found.loss < found.before - 0.1
    better = evaluate_ranker(found.ranker(ranker, features), asked(data)).means()["NDCG@5"]
    assert better > evaluate_ranker(ranker, asked(data)).means()["NDCG@5"] + 0.05


def test_what_cannot_be_fitted() -> None:
    data, score, features = choices()

    def ranker(queries: Queries) -> np.ndarray:
        return np.tile(score.astype(np.float32), (len(queries), 1))

    with pytest.raises(ConfigError, match="expected a row for each of 30 items, got 3"):
        fit_combination(ranker, features[:3], asked(data))
    features[4, 1] = np.nan
    with pytest.raises(ConfigError, match="expected finite numbers, got nan for item 4"):
        fit_combination(ranker, features, asked(data))
    with pytest.raises(ConfigError, match=r"expected \(items, F\)"):
        fit_combination(ranker, score, asked(data))
    with pytest.raises(DataError, match="expected at least 10 questions"):
        fit_combination(ranker, np.nan_to_num(features), asked(data).subset(np.arange(3)))
