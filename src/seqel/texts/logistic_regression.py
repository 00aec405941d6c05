"""Reads a class, such as a sentiment or an intent, from the vector of a text: multinomial logistic regression."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.errors import ConfigError

__all__ = ["LogisticRegression", "fit_logistic_regression"]

Numbers = NDArray[np.float64]
STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)  # of the penalty, per example, among which validation chooses


@dataclass(frozen=True, slots=True)
class LogisticRegression:
    """A classifier of vectors: the probability of each class."""

    names: tuple[str, ...]
    weight: Numbers  # (C, W)
    bias: Numbers  # (C,)
    accuracy: float  # on the validation split
    f1: float  # there, the mean of the classes' F1
    strength: float = math.nan  # of the penalty, per example; NaN: not known

    def probabilities(self, vectors: NDArray[np.floating[Any]]) -> Numbers:
        """Return the probability of each class, (N, W) -> (N, C)."""
        from scipy.special import softmax  # here, because readers of classes are known to every training

        found: Numbers = softmax(vectors @ self.weight.T + self.bias, axis=1)
        return found


def fit_logistic_regression(
    names: Sequence[str],
    train: tuple[NDArray[np.floating[Any]], NDArray[np.int64]],
    validation: tuple[NDArray[np.floating[Any]], NDArray[np.int64]],
    strengths: Sequence[float] = STRENGTHS,
    start: LogisticRegression | None = None,
) -> LogisticRegression:
    """Fit on vectors (N, W) and classes (N,), with the one of `strengths` of the penalty that has the lowest validation loss.

    start: where the search begins, for instance what was fitted on most of the same examples.

    Raises ConfigError if a class has no example in training.
    """
    from scipy.optimize import minimize  # as above
    from scipy.special import log_softmax

    x, y = np.asarray(train[0], np.float64), train[1]
    missing = [names[place] for place in range(len(names)) if not (y == place).any()]
    if missing:
        raise ConfigError(f"expected an example of each class, got none of {', '.join(missing)}")
    centre, scale = x.mean(axis=0), x.std() or 1.0
    x, held = (x - centre) / scale, (np.asarray(validation[0], np.float64) - centre) / scale
    rows, single = np.arange(len(x)), x.astype(np.float32)
    best: tuple[float, float, Numbers] | None = None
    flat = np.zeros(len(names) * (x.shape[1] + 1))
    if start is not None:
        flat = np.column_stack([start.weight * scale, start.bias + start.weight @ centre]).ravel()
    for strength in sorted(strengths, reverse=True):  # each from the solution before

        def loss(flat: Numbers, strength: float = strength) -> tuple[float, Numbers]:
            # products and exponentials in single precision: they take all the time where classes are many
            weight = flat.reshape(len(names), -1)
            away = single @ weight[:, :-1].T.astype(np.float32) + weight[:, -1].astype(np.float32)
            away -= away.max(axis=1, keepdims=True)
            right = away[rows, y]
            np.exp(away, out=away)
            total = away.sum(axis=1)
            value = (
                float((np.log(total) - right).mean(dtype=np.float64)) + 0.5 * strength * np.square(weight[:, :-1]).sum()
            )
            away /= total[:, None]
            away[rows, y] -= 1.0
            away /= len(x)
            slope = np.column_stack([away.T @ single, away.sum(axis=0)]).astype(np.float64)
            slope[:, :-1] += strength * weight[:, :-1]
            return value, slope.ravel()

        flat = minimize(loss, flat, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
        weight = flat.reshape(len(names), -1)
        logs = log_softmax(held @ weight[:, :-1].T + weight[:, -1], axis=1)
        nats = -float(logs[np.arange(len(held)), validation[1]].mean())
        if best is None or nats < best[0]:
            best = (nats, strength, weight.copy())
    assert best is not None
    _, strength, weight = best
    weight, bias = weight[:, :-1] / scale, weight[:, -1]
    found = LogisticRegression(tuple(names), weight, bias - weight @ centre, 0.0, 0.0)
    guess = found.probabilities(np.asarray(validation[0], np.float64)).argmax(axis=1)
    accuracy = float((guess == validation[1]).mean())
    return LogisticRegression(
        found.names, found.weight, found.bias, accuracy, _f1(guess, validation[1], len(names)), strength
    )


def _f1(guess: NDArray[np.int64], truth: NDArray[np.int64], classes: int) -> float:
    """Return the mean over classes of 2 x (guessed rightly) / (guessed + true)."""
    found = []
    for place in range(classes):
        both, either = ((guess == place) & (truth == place)).sum(), (guess == place).sum() + (truth == place).sum()
        found.append(2.0 * both / either if either else 1.0)
    return float(np.mean(found))
