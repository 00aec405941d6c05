"""How simulated users behave: what they like, what bores them, how their taste moves, and when they leave.

What is shown now changes what is liked later, which the accuracy of the next item does not measure. Everything is computed
for many users at once, so that a planner can look ahead.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from seqel.errors import ConfigError
from seqel.tasks.recommend.factors import Factors

__all__ = ["Behaviour", "Users"]

Numbers = NDArray[np.float64]
LOWEST, HIGHEST = 1.0, 5.0  # ratings
NEUTRAL = 3.0


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The simulator's constants. Raises ConfigError if one is out of range.

    The defaults were chosen, before any agent was trained, so that players that know the taste of a user and look ahead earn
    more than those that do not (docs/experiments.md).
    """

    interest: float = 0.0  # log-odds of taking an item of average popularity that would be rated 3 stars
    popularity: float = 0.8  # by how much they rise with a standard deviation of popularity
    liking: float = 0.1  # and with a star of the rating
    boredom: float = 0.3  # by how much they fall per item of the same direction of taste that was taken lately
    forgetting: float = 0.8  # what is left of boredom after a step
    repeated: float = 3.0  # by how much they fall if the item was shown before in this visit
    drift: float = 0.02  # how far taste moves towards an item that was liked, as a share of its length
    wander: float = 0.02  # standard deviation of its random steps, as a share of its length
    noise: float = 0.5  # of a rating
    memory: float = 0.8  # weight of satisfaction so far in satisfaction
    refused: float = -0.1  # what an item that was not taken counts for, in stars above neutral
    leaving: float = -2.0  # log-odds of leaving at satisfaction 0
    patience: float = 5.0  # by how much a star of satisfaction lowers them

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            limit = 1.0 if one.name in ("forgetting", "memory", "drift", "wander") else 100.0
            low = -100.0 if one.name in ("interest", "refused", "leaving") else 0.0
            if not low <= value <= limit:
                raise ConfigError(f"behaviour: {one.name}: expected a number from {low:g} to {limit:g}, got {value!r}")


@dataclass(frozen=True, slots=True)
class Users:
    """The state of N users on a visit. Nothing is changed in place: each step returns a new state."""

    taste: Numbers  # (N, K)
    boredom: Numbers  # (N, K) of directions of taste, decaying
    satisfaction: Numbers  # (N,) stars above neutral, a moving average
    shown: NDArray[np.bool_]  # (N, A) in this visit

    @classmethod
    def arriving(cls, taste: Numbers, items: int) -> Users:
        """Return users at the start of a visit."""
        count = len(taste)
        return cls(taste, np.zeros_like(taste), np.zeros(count), np.zeros((count, items), np.bool_))

    def __len__(self) -> int:
        return len(self.taste)

    def subset(self, some: NDArray[np.bool_]) -> Users:
        """Return the users that are chosen, some (N,)."""
        return Users(self.taste[some], self.boredom[some], self.satisfaction[some], self.shown[some])

    def ratings(self, factors: Factors) -> Numbers:
        """Return the mean rating that each user would give each item now, before it is cut to 1 to 5, (N, A)."""
        found: Numbers = factors.mean + factors.bias + self.taste @ factors.items.T
        return found

    def takes(self, factors: Factors, behaviour: Behaviour) -> Numbers:
        """Return the probability that each user takes each item if it is shown now, (N, A)."""
        tired = np.maximum(self.boredom @ directions(factors).T, 0.0)
        odds = (
            behaviour.interest
            + behaviour.popularity * factors.popularity
            + behaviour.liking * (self.ratings(factors) - NEUTRAL)
        )
        return _sigmoid(odds - behaviour.boredom * tired - behaviour.repeated * self.shown)

    def after(
        self,
        item: NDArray[np.int64],
        taken: Numbers,
        rating: Numbers,
        factors: Factors,
        behaviour: Behaviour,
        step: Numbers | None = None,
    ) -> Users:
        """Return the users after each was shown an item (N,), took it or not, and rated it (N,) if so.

        taken: (N,) 1 or 0, or a probability, for what happens on average. step: (N, K) standard normal numbers, for the
        random part of the drift; None: there is none.
        """
        direction = directions(factors)[item] * taken[:, None]
        length = np.linalg.norm(self.taste, axis=1, keepdims=True)
        moved = behaviour.drift * np.maximum(rating - NEUTRAL, 0.0)[:, None] * direction
        if step is not None:
            moved = moved + behaviour.wander * step / np.sqrt(self.taste.shape[1])
        shown = self.shown.copy()
        shown[np.arange(len(self)), item] = True
        felt = taken * (rating - NEUTRAL) + (1.0 - taken) * behaviour.refused
        return replace(
            self,
            taste=self.taste + length * moved,
            boredom=behaviour.forgetting * self.boredom + direction,
            satisfaction=behaviour.memory * self.satisfaction + (1.0 - behaviour.memory) * felt,
            shown=shown,
        )

    def leave(self, behaviour: Behaviour) -> Numbers:
        """Return the probability that each user leaves now, (N,)."""
        return _sigmoid(behaviour.leaving - behaviour.patience * self.satisfaction)


def directions(factors: Factors) -> Numbers:
    """Return the items' vectors, with length 1, (A, K)."""
    length = np.linalg.norm(factors.items, axis=1, keepdims=True)
    found: Numbers = factors.items / np.where(length > 0.0, length, 1.0)
    return found


def _sigmoid(x: Numbers) -> Numbers:
    found: Numbers = 1.0 / (1.0 + np.exp(-x))
    return found
