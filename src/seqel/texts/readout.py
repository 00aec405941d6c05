"""Reads a class, such as a sentiment or an intent, from the vector of a text: multinomial logistic regression."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.errors import ConfigError

__all__ = ["Readout", "fit_readout"]

Numbers = NDArray[np.float64]
STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)  # of the penalty, per example, among which validation chooses


@dataclass(frozen=True, slots=True)
class Readout:
    """Chances of classes, of vectors."""

    names: tuple[str, ...]
    weight: Numbers  # (C, W)
    bias: Numbers  # (C,)
    accuracy: float  # on the validation split
    f1: float  # there, the mean of the classes' F1
    strength: float = math.nan  # of the penalty, per example; NaN: not known

    def chances(self, vectors: NDArray[np.floating[Any]]) -> Numbers:
        """Return the chance of each class, (N, W) -> (N, C)."""
        from scipy.special import softmax  # here, because readers of classes are known to every training

        found: Numbers = softmax(vectors @ self.weight.T + self.bias, axis=1)
        return found


def fit_readout(
    names: Sequence[str],
    train: tuple[NDArray[np.floating[Any]], NDArray[np.int64]],
    validation: tuple[NDArray[np.floating[Any]], NDArray[np.int64]],
    strengths: Sequence[float] = STRENGTHS,
) -> Readout:
    """Fit on vectors (N, W) and classes (N,). Of `strengths` of the penalty, the one with the lowest loss on validation.

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
    wanted = np.eye(len(names))[y]
    best: tuple[float, float, Numbers] | None = None
    start = np.zeros(len(names) * (x.shape[1] + 1))
    for strength in sorted(strengths, reverse=True):  # each from the solution before

        def loss(flat: Numbers, strength: float = strength) -> tuple[float, Numbers]:
            weight = flat.reshape(len(names), -1)
            chances = log_softmax(x @ weight[:, :-1].T + weight[:, -1], axis=1)
            value = -(wanted * chances).sum() / len(x) + 0.5 * strength * np.square(weight[:, :-1]).sum()
            away = (np.exp(chances) - wanted) / len(x)
            slope = np.concatenate([away.T @ x + strength * weight[:, :-1], away.sum(axis=0)[:, None]], axis=1)
            return float(value), slope.ravel()

        start = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
        weight = start.reshape(len(names), -1)
        chances = log_softmax(held @ weight[:, :-1].T + weight[:, -1], axis=1)
        nats = -float(chances[np.arange(len(held)), validation[1]].mean())
        if best is None or nats < best[0]:
            best = (nats, strength, weight.copy())
    assert best is not None
    _, strength, weight = best
    weight, bias = weight[:, :-1] / scale, weight[:, -1]
    found = Readout(tuple(names), weight, bias - weight @ centre, 0.0, 0.0)
    guess = found.chances(np.asarray(validation[0], np.float64)).argmax(axis=1)
    accuracy = float((guess == validation[1]).mean())
    return Readout(found.names, found.weight, found.bias, accuracy, _f1(guess, validation[1], len(names)), strength)


def _f1(guess: NDArray[np.int64], truth: NDArray[np.int64], classes: int) -> float:
    """Return the mean over classes of 2 x (guessed rightly) / (guessed + true)."""
    found = []
    for place in range(classes):
        both, either = ((guess == place) & (truth == place)).sum(), (guess == place).sum() + (truth == place).sum()
        found.append(2.0 * both / either if either else 1.0)
    return float(np.mean(found))
