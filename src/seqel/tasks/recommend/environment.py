"""Recommendation for long-term reward: one item after another is shown to a user, who takes it or not, and may leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from seqel.action_masks import MASK
from seqel.errors import ConfigError, EnvironmentFault
from seqel.tasks.arguments import require_action, require_count
from seqel.tasks.recommend.factors import Factors, read_ratings
from seqel.tasks.recommend.users import HIGHEST, LOWEST, Behaviour, Users
from seqel.tasks.splits import SPLITS, Split, require_split

__all__ = ["Recommend"]

SPLIT_SEED = 91


class Recommend(gymnasium.Env[NDArray[np.float32], np.int64]):
    """A visit of a user whose taste is hidden: show items that are taken now, and after which the user stays.

    Observation: the last rating over 5, and 0 at first and if the last item was not taken, (1,): an agent that remembers what
    it showed can find out what the user likes. Actions: the items. Reward: 1 if the item is taken, else 0. Popular items are
    taken more often, but whether a user stays depends on how the items that were taken are rated. What is alike bores; taste
    drifts towards what was liked; a user who is dissatisfied leaves (terminated), and all do after `steps` (truncated).

    The users are those of real ratings, whose vectors are fitted (`seqel.tasks.recommend.factors`); 70 % of them are in the
    split "train", and 15 % each in "validation" and "test". `info` has "user" and, at the end, whether
    the user left.

    ratings: `Factors`, or the path of a CSV file with the columns user, item and rating. repeats: False forbids items that
    were shown before in a visit, by the mask `info["action_mask"]`.

    Raises DataError (a bad file), ConfigError (a bad argument), SpaceError (an action that does not exist), EnvironmentFault
    (a step without an open episode).
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own shape)

    def __init__(
        self,
        ratings: Factors | str | Path | None = None,
        split: Split = "train",
        behaviour: Behaviour | Mapping[str, Any] | None = None,
        steps: int = 40,
        repeats: bool = True,
    ) -> None:
        if ratings is None:
            raise ConfigError(
                "ratings: expected a CSV file with the columns user, item and rating, got none; on the command line: "
                "--env-arg ratings=FILE"
            )
        require_split(split)
        self.factors = ratings if isinstance(ratings, Factors) else read_ratings(ratings)
        self.behaviour = _behaviour(behaviour) if isinstance(behaviour, Mapping) else behaviour or Behaviour()
        self.steps, self.repeats = require_count("steps", steps, 1), repeats
        self.users = users_of(len(self.factors.users), split)
        if not repeats and len(self.factors.items) <= self.steps:
            raise ConfigError(
                f"ratings: expected more than {self.steps} items, one for each step, got {len(self.factors.items)}: allow "
                "repeats, or fewer steps"
            )
        if not len(self.users):
            raise ConfigError(f"ratings: expected at least 10 users, got {len(self.factors.users)}")
        self.observation_space = spaces.Box(0.0, 1.0, (1,), np.float32)
        self.action_space = spaces.Discrete(len(self.factors.items))
        self.state: Users | None = None  # of the one user
        self._user, self.step_number = 0, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Let a user of the split arrive."""
        super().reset(seed=seed)
        self._user, self.step_number = int(self.np_random.choice(self.users)), 0
        self.state = Users.arriving(self.factors.users[self._user][None], len(self.factors.items))
        return np.zeros(1, np.float32), {"user": self._user} | self._mask(self.state)

    def step(self, action: np.int64 | int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        state, behaviour = self.state, self.behaviour
        if state is None:
            raise EnvironmentFault("expected a reset before this step: no episode is open")
        item = require_action(self.action_space, action, "an item")
        liked = float(state.ratings(self.factors)[0, item])
        taken = float(self.np_random.random() < state.takes(self.factors, behaviour)[0, item])
        rating = float(np.clip(np.round(liked + behaviour.noise * self.np_random.standard_normal()), LOWEST, HIGHEST))
        wander = self.np_random.standard_normal(state.taste.shape)
        state = state.after(np.array([item]), np.array([taken]), np.array([rating]), self.factors, behaviour, wander)
        left = bool(self.np_random.random() < state.leave(behaviour)[0])
        self.step_number += 1
        over = self.step_number >= self.steps
        self.state = None if left or over else state
        info = {"user": self._user} | ({"left": left} if left or over else {}) | self._mask(state)
        return np.array([taken * rating / HIGHEST], np.float32), taken, left, over and not left, info

    def _mask(self, state: Users) -> dict[str, NDArray[np.bool_]]:
        return {} if self.repeats else {MASK: ~state.shown[0]}


def users_of(count: int, split: Split) -> NDArray[np.int64]:
    """Return the users of a split: 70, 15 and 15 % of them, drawn once."""
    order = np.random.default_rng(SPLIT_SEED).permutation(count)
    ends = [0, round(0.7 * count), round(0.85 * count), count]
    place = SPLITS.index(split)
    return np.sort(order[ends[place] : ends[place + 1]]).astype(np.int64)


def _behaviour(given: Mapping[str, Any]) -> Behaviour:
    known = [field.name for field in fields(Behaviour)]
    for name in given:
        if name not in known:
            raise ConfigError(f"behaviour: expected names among {', '.join(known)}, got {name!r}")
    return Behaviour(**given)
