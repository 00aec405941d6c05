"""Scores of how unfamiliar a state is, from the trunk's states (rows, D) alone; larger is less familiar. Pure functions.

No detector sees an example of what it should detect. Its threshold follows from the share of familiar states that may be
reported (the false-alarm rate), see `threshold_at`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["Knn", "Mahalanobis", "auroc", "max_softmax", "threshold_at"]

FEWEST = 2  # rows of a class that has a mean of its own
RIDGE = 1e-4  # of the mean variance, added to each variance
BLOCK = 4_000_000  # distances that are held at once


@dataclass(frozen=True, slots=True)
class Mahalanobis:
    """The smallest squared Mahalanobis distance to the mean of a class, with one covariance of all (Lee et al. 2018,
    arXiv:1807.03888). Differs: classes are the agent's own actions, as states have no labels; and the variances get a ridge,
    because dimensions of a trunk may not vary.
    """

    means: NDArray[np.float64]  # (C, D)
    whitening: NDArray[np.float64]  # (D, D) maps differences to ones whose squared length is the distance

    @classmethod
    def fit(cls, states: ArrayLike, classes: ArrayLike | None = None, ridge: float = RIDGE) -> Mahalanobis:
        """Fit to familiar states (N, D). classes (N,): of each state; None: one class. Raises DataError: fewer than 2 rows,
        or states that are not finite."""
        x = _rows(states, fewest=2)
        label = np.zeros(len(x), np.int64) if classes is None else np.asarray(classes, np.int64)
        if label.shape != (len(x),):
            raise DataError(f"expected the class of each of {len(x)} states, got shape {label.shape}")
        codes, counts = np.unique(label, return_counts=True)
        common = set(codes[counts >= FEWEST].tolist())
        groups = [label == code for code in sorted(common)]
        rare = ~np.isin(label, sorted(common))
        if not groups:
            groups, rare = [np.ones(len(x), bool)], np.zeros(len(x), bool)
        means = np.stack([x[group].mean(axis=0) for group in groups])
        residual = np.concatenate([x[group] - mean for group, mean in zip(groups, means, strict=True)])
        if rare.any():  # a class of one state says nothing about spread; its nearest mean stands for it
            lone = x[rare]
            nearest = ((lone[:, None] - means) ** 2).sum(axis=-1).argmin(axis=1)
            residual = np.concatenate([residual, lone - means[nearest]])
        covariance = residual.T @ residual / len(residual)
        level = float(np.trace(covariance)) / len(covariance)
        values, vectors = np.linalg.eigh(covariance + ridge * (level or 1.0) * np.eye(len(covariance)))
        return cls(means, vectors / np.sqrt(values))

    def score(self, states: ArrayLike) -> NDArray[np.float64]:
        """Return the scores (rows,) of states (rows, D)."""
        x = _rows(states, width=self.means.shape[1]) @ self.whitening
        centres = self.means @ self.whitening
        found = [((x - centre) ** 2).sum(axis=1) for centre in centres]
        return np.asarray(np.min(found, axis=0), np.float64)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what a file has to hold."""
        return {"means": self.means, "whitening": self.whitening}


@dataclass(frozen=True, slots=True)
class Knn:
    """The distance to the k-th nearest of the familiar states, all scaled to length 1 (Sun et al. 2022, arXiv:2204.06507)."""

    bank: NDArray[np.float32]  # (N, D) of length 1
    k: int

    @classmethod
    def fit(cls, states: ArrayLike, k: int = 10, most: int = 10_000, seed: int = 0) -> Knn:
        """Keep familiar states (N, D), at most `most` of them, drawn at random. Raises DataError: fewer than k rows."""
        x = _rows(states, fewest=max(k, 1))
        if k < 1:
            raise DataError(f"k: expected at least 1 neighbour, got {k}")
        if len(x) > most:
            x = x[np.sort(np.random.default_rng(seed).choice(len(x), most, replace=False))]
        return cls(_unit(x).astype(np.float32), min(k, len(x)))

    def score(self, states: ArrayLike) -> NDArray[np.float64]:
        """Return the scores (rows,) of states (rows, D)."""
        x = _unit(_rows(states, width=self.bank.shape[1])).astype(np.float32)
        size = max(1, BLOCK // len(self.bank))
        found = []
        for at in range(0, len(x), size):
            squared = 2.0 - 2.0 * (x[at : at + size] @ self.bank.T)  # both have length 1
            found.append(np.partition(squared, self.k - 1, axis=1)[:, self.k - 1])
        return np.asarray(np.sqrt(np.maximum(np.concatenate(found), 0.0)), np.float64)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what a file has to hold."""
        return {"bank": self.bank, "k": np.array([self.k])}


def max_softmax(scores: ArrayLike) -> NDArray[np.float64]:
    """Return 1 less the largest softmax probability (Hendrycks & Gimpel 2017, arXiv:1610.02136): decision scores (rows, A),
    or (rows, M, A), of which the mean over dimensions is taken -> (rows,). -inf stands for masked actions.
    """
    q = np.asarray(scores, np.float64)
    if q.ndim not in (2, 3) or not len(q):
        raise DataError(f"expected scores (rows, actions), got shape {q.shape}")
    best = q.max(axis=-1, keepdims=True)
    found = 1.0 - 1.0 / np.exp(q - best).sum(axis=-1)
    return np.asarray(found if found.ndim == 1 else found.mean(axis=1), np.float64)


def auroc(familiar: ArrayLike, unfamiliar: ArrayLike) -> float:
    """Return the area under the ROC curve: the probability that an unfamiliar state scores higher than a familiar one.

    Ties count one half. 0.5: the score says nothing. Raises DataError if there are no scores, or one is not finite.
    """
    low, high = np.asarray(familiar, np.float64), np.asarray(unfamiliar, np.float64)
    for scores in (low, high):
        if scores.ndim != 1 or not len(scores) or not np.isfinite(scores).all():
            raise DataError(f"expected one or more finite scores, got shape {scores.shape}")
    order = np.sort(low)
    below, up_to = np.searchsorted(order, high, side="left"), np.searchsorted(order, high, side="right")
    return float((below + up_to).mean() / (2 * len(low)))


def threshold_at(scores: ArrayLike, false_alarms: float) -> float:
    """Return the score above which a share of at most `false_alarms` of familiar states lies, judged by other scores of such.

    The split-conformal quantile: of n scores, the one of rank ceil((n + 1)(1 - false_alarms)); infinity if n is too small.
    Raises DataError: no scores, or a share outside 0..1.
    """
    known = np.sort(np.asarray(scores, np.float64))
    if known.ndim != 1 or not len(known) or not 0.0 < false_alarms < 1.0:
        raise DataError(f"expected scores and a share between 0 and 1, got {known.shape} and {false_alarms}")
    rank = math.ceil((len(known) + 1) * (1.0 - false_alarms) - 1e-9)
    return float(known[rank - 1]) if rank <= len(known) else math.inf


def _unit(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12), np.float64)


def _rows(states: ArrayLike, fewest: int = 0, width: int | None = None) -> NDArray[np.float64]:
    x = np.asarray(states, np.float64)
    if x.ndim != 2 or len(x) < fewest or (width is not None and x.shape[1] != width):
        wanted = f"(at least {fewest}, D)" if width is None else f"(rows, {width})"
        raise DataError(f"states: expected {wanted}, got shape {x.shape}")
    if not np.isfinite(x).all():
        raise DataError("states: expected finite numbers, got some that are not")
    return x
