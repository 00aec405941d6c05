"""The read-out: the optimum of its loss, separable classes, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from seqel.errors import ConfigError
from seqel.texts.logistic_regression import fit_logistic_regression

NAMES = ("a", "b", "c")


def test_chances_of_known_classes() -> None:
    """Of data that a softmax of known weights made, it finds these weights, up to a common shift."""
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(3, 4)), np.array([0.5, 0.0, -0.5])
    x = rng.normal(size=(20_000, 4)) * 2.0 + 1.0
    probabilities = softmax(x @ weight.T + bias, axis=1)
    y = (rng.random(len(x))[:, None] > probabilities.cumsum(axis=1)).sum(axis=1)
    found = fit_logistic_regression(NAMES, (x[:15_000], y[:15_000]), (x[15_000:], y[15_000:]))
    np.testing.assert_allclose(found.weight - found.weight.mean(axis=0), weight - weight.mean(axis=0), atol=0.12)
    np.testing.assert_allclose(found.probabilities(x), probabilities, atol=0.08)
    best = (probabilities[15_000:].argmax(axis=1) == y[15_000:]).mean()
    assert found.accuracy == pytest.approx(best, abs=0.01)


def test_accuracy_and_f1_by_hand() -> None:
    """On the line, -1 is a, 0 is b, 1 is c. Of four held-out points one b is labelled as c."""
    x, y = np.repeat([[-1.0], [0.0], [1.0]], 20, axis=0), np.repeat([0, 1, 2], 20)
    found = fit_logistic_regression(NAMES, (x, y), (np.array([[-1.0], [0.0], [0.0], [1.0]]), np.array([0, 1, 2, 2])))
    # F1: a 1; b 2 / 3 (guessed twice, one right, one is true); c 2 / 3 (guessed once, rightly, two are true)
    assert found.accuracy == 0.75 and found.f1 == pytest.approx((1.0 + 2 / 3 + 2 / 3) / 3)


def test_a_class_without_an_example() -> None:
    x, y = np.zeros((4, 2)), np.array([0, 0, 1, 1])
    with pytest.raises(ConfigError, match="an example of each class, got none of c"):
        fit_logistic_regression(NAMES, (x, y), (x, y))
