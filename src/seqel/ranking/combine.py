"""Further features of the items in a ranking (price, freshness, stock), with weights that are learned from the next items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from seqel.agents.ranking import NO_ITEM, exclude, top_items
from seqel.errors import ConfigError, DataError
from seqel.ranking.baselines import Ranker
from seqel.ranking.interactions import Queries

__all__ = ["Combination", "fit_combination"]

Numbers = NDArray[np.float64]
BLOCK = 512  # questions at once
FAR = -1e6


@dataclass(frozen=True, slots=True)
class Combination:
    """An item's combined score is its score plus the sum of its features times their weights."""

    weights: Numbers  # (F,) per unit of the feature, in units of the score
    temperature: float  # by which scores are divided, so that their softmax predicts the next item
    loss: float  # mean nats of the validation items among the candidates
    before: float  # the same without features

    def ranker(self, ranker: Ranker, features: NDArray[np.floating]) -> Ranker:
        """Return a ranker with the features (items, F) added."""
        bonus = (_checked(features) @ self.weights).astype(np.float32)
        return lambda queries: ranker(queries) + bonus


def fit_combination(
    ranker: Ranker,
    features: NDArray[np.floating],
    queries: Queries,
    candidates: int = 100,
    regularisation: float = 1e-3,
) -> Combination:
    """Fit weights of features (items, F) by the conditional logit model (McFadden 1974).

    For each question, the model chooses the next item among the ranker's `candidates` best, with a probability proportional
    to exp(score / temperature + features . weights). Questions whose next item is not among them are left out.
    regularisation: of the squared weights of standardised features.

    Raises ConfigError: features do not fit the catalogue, or one is not finite. DataError: fewer than ten questions have
    their item among the candidates.
    """
    features = _checked(features)
    items = len(queries.source.items)
    if len(features) != items:
        raise ConfigError(f"features: expected a row for each of {items:,} items, got {len(features):,}")
    mean, std = features.mean(axis=0), features.std(axis=0)
    scaled = (features - mean) / np.where(std > 0.0, std, 1.0)
    scores, x, right = [], [], []
    for part in queries.parts(BLOCK):
        found = np.array(ranker(part), np.float32)
        exclude(found, part.histories())
        best, score = top_items(found, min(candidates, items))
        hit = best == np.array([one[0] for one in part.targets()])[:, None]
        keep = hit.any(axis=1)
        scores.append(np.where(best == NO_ITEM, FAR, score.astype(np.float64))[keep])  # seen items have no chance
        x.append(scaled[best[keep]])
        right.append(hit[keep].argmax(axis=1))
    of_item, feature, place = np.concatenate(scores), np.concatenate(x), np.concatenate(right)
    if len(place) < 10:
        raise DataError(f"expected at least 10 questions with their item among the candidates, got {len(place)}")

    inputs, rows = np.concatenate([of_item[..., None], feature], axis=2), np.arange(len(place))  # (Q, C, 1 + F)

    def loss(w: Numbers) -> tuple[float, Numbers]:
        logits = inputs @ w
        logits -= logits.max(axis=1, keepdims=True)
        chance = np.exp(logits)
        chance /= chance.sum(axis=1, keepdims=True)
        nats = -np.log(chance[rows, place]).mean() + regularisation * np.square(w[1:]).sum()
        expected = (chance[..., None] * inputs).sum(axis=1)
        slope = (expected - inputs[rows, place]).mean(axis=0)
        slope[1:] += 2.0 * regularisation * w[1:]
        return float(nats), slope

    start = np.zeros(1 + feature.shape[2])
    start[0] = 1.0
    alone = minimize(lambda one: _first(loss(np.concatenate([one, start[1:]]))), start[:1], jac=True, method="L-BFGS-B")
    start[0] = alone.x[0]
    whole = minimize(loss, start, jac=True, method="L-BFGS-B")
    inverse = max(float(whole.x[0]), 1e-6)
    return Combination(
        whole.x[1:] / np.where(std > 0.0, std, 1.0) / inverse, 1.0 / inverse, float(whole.fun), float(alone.fun)
    )


def _first(found: tuple[float, Numbers]) -> tuple[float, Numbers]:
    return found[0], found[1][:1]


def _checked(features: NDArray[np.floating]) -> Numbers:
    found = np.asarray(features, np.float64)
    if found.ndim != 2:
        raise ConfigError(f"features: expected (items, F), got shape {found.shape}")
    bad = np.argwhere(~np.isfinite(found))
    if len(bad):
        raise ConfigError(f"features: expected finite numbers, got {found[tuple(bad[0])]} for item {bad[0][0]}")
    return found
