"""Reads a class, such as a sentiment or a topic, from what an agent's text encoder makes of a text.

Multinomial logistic regression on the vectors of the agent's own encoder: the agent is not changed, and a text that it has
read need not be encoded again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from seqel.agents.agent import Agent
from seqel.errors import ConfigError
from seqel.spaces import FlatObservation

__all__ = ["Readout", "fit_readout", "vectors_of"]

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

    def chances(self, vectors: NDArray[np.floating[Any]]) -> Numbers:
        """Return the chance of each class, (N, W) -> (N, C)."""
        found: Numbers = softmax(vectors @ self.weight.T + self.bias, axis=1)
        return found


def vectors_of(agent: Agent, observation: dict[str, Any] | FlatObservation) -> NDArray[np.float32]:
    """Return what the agent's text encoder makes of the one text leaf of a batch of N observations, (N, W).

    One that is flat already stays as it is: its texts are not read again.

    Of a frozen encoder these are its vectors; of another, what the network makes of the text.

    Raises ConfigError if the agent does not observe exactly one text.
    """
    spec, network = agent.observation_spec, agent.network
    paths = [leaf.path for leaf in spec.leaves if leaf.kind == "text"]
    if len(paths) != 1:
        raise ConfigError(f"expected an agent that observes one text, got {paths or 'none'}")
    if not isinstance(observation, FlatObservation):
        observation = spec.flatten(observation, len(observation[paths[0]]))
    leaf = observation[paths[0]]
    if leaf.dtype == np.float32 and leaf.ndim == 2:
        return leaf
    encoder = network.tokens.encoders[network.tokens.paths.index(paths[0])]
    with torch.inference_mode():
        found: NDArray[np.float32] = encoder(torch.from_numpy(leaf).to(agent.device)).float().cpu().numpy()
    return found


def fit_readout(
    names: Sequence[str],
    train: tuple[NDArray[np.floating[Any]], NDArray[np.int64]],
    validation: tuple[NDArray[np.floating[Any]], NDArray[np.int64]],
) -> Readout:
    """Fit on vectors (N, W) and classes (N,). The strength of the penalty is the one with the lowest loss on validation.

    Raises ConfigError if a class has no example in training.
    """
    x, y = np.asarray(train[0], np.float64), train[1]
    missing = [names[place] for place in range(len(names)) if not (y == place).any()]
    if missing:
        raise ConfigError(f"expected an example of each class, got none of {', '.join(missing)}")
    centre, scale = x.mean(axis=0), x.std() or 1.0
    x, held = (x - centre) / scale, (np.asarray(validation[0], np.float64) - centre) / scale
    wanted = np.eye(len(names))[y]
    best: tuple[float, Numbers] | None = None
    start = np.zeros(len(names) * (x.shape[1] + 1))
    for strength in sorted(STRENGTHS, reverse=True):  # each from the solution before

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
            best = (nats, weight.copy())
    assert best is not None
    weight = best[1][:, :-1] / scale
    found = Readout(tuple(names), weight, best[1][:, -1] - weight @ centre, 0.0, 0.0)
    guess = found.chances(np.asarray(validation[0], np.float64)).argmax(axis=1)
    accuracy = float((guess == validation[1]).mean())
    return Readout(found.names, found.weight, found.bias, accuracy, _f1(guess, validation[1], len(names)))


def _f1(guess: NDArray[np.int64], truth: NDArray[np.int64], classes: int) -> float:
    """Return the mean over classes of 2 x (guessed rightly) / (guessed + true)."""
    found = []
    for place in range(classes):
        both, either = ((guess == place) & (truth == place)).sum(), (guess == place).sum() + (truth == place).sum()
        found.append(2.0 * both / either if either else 1.0)
    return float(np.mean(found))
