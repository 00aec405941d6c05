"""Sequences to remember: copy a sequence of symbols after a delay, and recall the values of keys."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from seqel.errors import ConfigError, EnvironmentFault
from seqel.tasks.arguments import require_action, require_count

__all__ = ["AssociativeRecall", "Copy", "copied_symbol", "recalled_value"]

NO_ANSWER = -1


class _Sequence(gymnasium.Env[Any, np.int64], ABC):
    """A task whose observations do not depend on the actions; a subclass draws them together with the right answers."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own shape)

    def __init__(self, answers: int, steps: int, questions: int) -> None:
        self.action_space = gymnasium.spaces.Discrete(answers)
        self.steps, self.questions = steps, questions
        self.metadata = {**self.metadata, "seqel": {"discount": 0.0, "context": steps}}  # suggested settings
        self._observations: Any = ()
        self._answers: list[int] = []
        self._right = 0
        self._time: int | None = None  # None while no episode is open

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._observations, self._answers = self._draw()
        self._right = self._time = 0
        return self._observations[0], {}

    def step(self, action: np.int64 | int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self._time is None:
            raise EnvironmentFault("expected a reset before this step: no episode is open")
        named = require_action(self.action_space, action, "an answer")
        right = named == self._answers[self._time]
        self._right += right
        self._time += 1
        observation, reward = self._observations[self._time], float(right) / self.questions
        if self._time < self.steps:
            return observation, reward, False, False, {}
        self._time = None
        return observation, reward, True, False, {"is_success": self._right == self.questions}

    @abstractmethod
    def _draw(self) -> tuple[Any, list[int]]:
        """Draw an episode: steps + 1 observations, the last one after the end, and one answer or NO_ANSWER per step."""


class Copy(_Sequence):
    """See a sequence of symbols, one per step, wait, then reproduce it in order.

    Observation, Discrete (`symbols` + 2,): a symbol 0..symbols - 1 at each of the first `length` steps, each drawn
    uniformly; the blank, `symbols`, at `delay` steps; then the request, `symbols` + 1, at `length` steps. At the i-th request
    the action, Discrete (`symbols`,), has to name the i-th symbol: it is rewarded with 1 / `length` if it does, and all other
    actions with 0. The episode lasts 2 `length` + `delay` steps and ends with `terminated`; what is observed after it is the
    blank.

    The best return is 1. The best memoryless player gets 1 / `symbols` on average (0.125 by default), as random play does:
    all requests look the same. Every answer is `length` + `delay` steps after its symbol. At the end `info["is_success"]`
    says whether every symbol was right.

    Source: the copy task of Graves et al. 2014, arXiv:1410.5401. Differs: one symbol instead of eight random bits per step, a
    fixed length, and a delay.

    Raises ConfigError (symbols < 2, length < 1, delay < 0), SpaceError (invalid action), EnvironmentFault (a step before the
    first reset, or after the end).
    """

    def __init__(self, symbols: int = 8, length: int = 8, delay: int = 8) -> None:
        self.symbols = require_count("symbols", symbols, 2)
        self.length = require_count("length", length, 1)
        self.delay = require_count("delay", delay, 0)
        super().__init__(self.symbols, 2 * self.length + self.delay, self.length)
        self.observation_space = gymnasium.spaces.Discrete(self.symbols + 2)

    def _draw(self) -> tuple[NDArray[np.int64], list[int]]:
        sequence = self.np_random.integers(self.symbols, size=self.length)
        observations = np.full(self.steps + 1, self.symbols)
        observations[: self.length] = sequence
        observations[-self.length - 1 : -1] = self.symbols + 1
        return observations, [NO_ANSWER] * (self.length + self.delay) + sequence.tolist()


class AssociativeRecall(_Sequence):
    """See pairs of a key and a value, one per step, then name the value of each key.

    Observation, MultiDiscrete (2,): a key 0..keys - 1, and a value 0..values - 1 or the question mark, `values`. Each of the
    first `pairs` steps shows a pair. The keys of an episode differ from each other; the values are drawn uniformly and may be
    equal. Each of the next `pairs` steps shows one of these keys with the question mark: every key once, in an order drawn
    uniformly. Then the action, Discrete (`values`,), has to name the key's value: it is rewarded with 1 / `pairs` if it does,
    and all other actions with 0. The episode lasts 2 `pairs` steps and ends with `terminated`; what is observed after it is
    its last question again.

    The best return is 1. The best memoryless player gets 1 / `values` on average (0.125 by default), as random play does: a
    key says nothing about its value. At the end `info["is_success"]` says whether every value was right.

    Source: the associative recall of Graves et al. 2014, arXiv:1410.5401. Differs: there an episode has one question, which
    shows an item of three six-bit vectors and asks for the item that followed it.

    Raises ConfigError (pairs < 1, keys < pairs, values < 2), SpaceError (invalid action), EnvironmentFault (a step before the
    first reset, or after the end).
    """

    def __init__(self, pairs: int = 6, keys: int = 10, values: int = 8) -> None:
        self.pairs = require_count("pairs", pairs, 1)
        self.keys = require_count("keys", keys, 1)
        self.values = require_count("values", values, 2)
        if self.keys < self.pairs:
            raise ConfigError(f"keys: expected at least as many as pairs ({self.pairs}), got {self.keys}")
        super().__init__(self.values, 2 * self.pairs, self.pairs)
        self.observation_space = gymnasium.spaces.MultiDiscrete([self.keys, self.values + 1])

    def _draw(self) -> tuple[NDArray[np.int64], list[int]]:
        keys = self.np_random.permutation(self.keys)[: self.pairs]
        values = self.np_random.integers(self.values, size=self.pairs)
        order = self.np_random.permutation(self.pairs)
        observations = np.full((self.steps + 1, 2), self.values)
        observations[: self.pairs] = np.stack([keys, values], axis=1)
        observations[self.pairs : -1, 0] = keys[order]
        observations[-1] = observations[-2]
        return observations, [NO_ANSWER] * self.pairs + values[order].tolist()


def copied_symbol(observations: Sequence[np.int64], symbols: int) -> int:
    """Return the optimal action in `Copy`, given all observations of the episode so far.

    Raises ValueError if there is no observation.
    """
    if len(observations) == 0:
        raise ValueError("expected the observations of an episode, starting with its first, got none")
    requests = sum(seen == symbols + 1 for seen in observations)
    return int(observations[requests - 1]) if requests else 0


def recalled_value(observations: Sequence[NDArray[np.int64]], values: int) -> int:
    """Return the optimal action in `AssociativeRecall`, given all observations of the episode so far.

    Raises ValueError if there is no observation.
    """
    if len(observations) == 0:
        raise ValueError("expected the observations of an episode, starting with its first, got none")
    asked = observations[-1][0]
    return next((int(value) for key, value in observations if key == asked and value != values), 0)
