"""Exploration: Boltzmann or epsilon-greedy, as a ladder over the parallel environments, a count bonus, and novelty.

The ladder follows Horgan et al. 2018, arXiv:1803.00933 (there for epsilon): some environments exploit, others explore more.
The count bonus is c / (1 + n(observation, action)) (Kolter & Ng 2009, Bayesian exploration bonus). Differs: it is added
only when an action is selected, so the learned values remain those of the task. With c / sqrt(1 + n) (Strehl & Littman 2008,
MBIE-EB), 10,000 tries of each action at each observation would be needed before a difference of 0.01 decides. Counts are in
a table of fixed size, indexed by a sketch of the observation (`agents/sketch.py`).

In every second environment, the values that the novelty head has learned (`losses/terms/novelty.py`) are added as well, with
a weight from a ladder of its own.

With `duration_exponent`, the random part of a choice is held for a random number of steps (ez-greedy exploration, Dabney et
al. 2020, arXiv:2006.01782), because a sustained push in one direction reaches further than a new direction at each step.
Differs: with Boltzmann exploration, the noise on the values is held instead of the action, so clear differences between
values still decide.

If an action has M dimensions, each is chosen by its own values at the row's temperature (or with the row's epsilon), and has
its own counts. All dimensions of a row are held together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.agents.config import ExplorationConfig
from seqel.agents.sketch import CODES
from seqel.spaces import ActionSpec

__all__ = ["Explorer", "ladder"]

NOVELTY_RANGE = 100.0  # the largest weight of novelty is this many times the smallest
LONGEST = 1_000  # most steps for which a random part is held


def ladder(low: float, high: float, rungs: int) -> NDArray[np.float64]:
    """Return a geometric sequence from low to high: (rungs,); a single rung is the geometric mean."""
    if rungs == 1:
        return np.array([np.sqrt(low * high)])
    return np.geomspace(low, high, rungs)


class Explorer:
    """Selects actions with exploration from Q-values. Owns its random generator and its counts; both are saved.

    `fraction` is the share of the run that is over; it controls annealing.
    """

    def __init__(
        self,
        config: ExplorationConfig,
        environments: int,
        actions: ActionSpec | int,
        seed: int,
        exploring: NDArray[np.bool_] | None = None,
    ) -> None:
        """`exploring` (E,): the rows that use the ladder, bonus and novelty; the others use its lowest rung.

        `actions`: the spec, or A for one dimension counted from 0.
        """
        self.config = config
        self.exploring = np.ones(environments, bool) if exploring is None else exploring
        self.rungs = np.full(environments, config.low, np.float64)
        self.rungs[self.exploring] = ladder(config.low, config.high, int(self.exploring.sum()))
        self.bonus = np.where(self.exploring, config.bonus, 0.0)
        self.novelty = np.zeros(environments)
        curious = np.flatnonzero(self.exploring)[1::2]
        if config.novelty > 0.0 and len(curious):
            weights = ladder(config.novelty / NOVELTY_RANGE, config.novelty, len(curious))
            # shuffled, so that a large weight does not go with a high temperature
            self.novelty[curious] = np.random.default_rng(0).permutation(weights)
        self.rng = np.random.default_rng(seed)
        self.unmasked = np.ones(actions, bool) if isinstance(actions, int) else actions.unmasked  # (A,) or (M, A)
        self.counts = np.zeros((CODES, *self.unmasked.shape), np.uint32) if config.bonus > 0 else None
        self.left: NDArray[np.int64] = np.zeros(
            environments, np.int64
        )  # steps for which each row's random part is still held
        self.over: NDArray[np.bool_] = np.ones(environments, bool)
        self.held: dict[str, NDArray[np.float64]] = {}

    def select(
        self,
        q: NDArray[np.float32],
        codes: NDArray[np.int64],
        mask: NDArray[np.bool_] | None,
        scale: float,
        fraction: float = 1.0,
        novelty: NDArray[np.float32] | None = None,
    ) -> NDArray[np.int64]:
        """Choose and count one action per row. q (E, A) in units of reward, mask (E, A) True = allowed -> (E,).

        `codes` (E,): the observations' sketches; `novelty` (E, A): what the novelty head expects of each action. If M > 1:
        q, mask and novelty (E, M, A) -> (E, M).
        """
        value = q.astype(np.float64) / scale
        allowed = self.unmasked if mask is None else mask & self.unmasked
        if novelty is not None:
            value += _by_row(self.novelty, value) * novelty
        if self.counts is not None:
            value += _by_row(self.bonus, value) / (1.0 + self.counts[codes])
        if mask is not None or not self.unmasked.all():
            value = np.where(allowed, value, -np.inf)
        action = self._choose(value, allowed, self._strength(fraction))
        if self.counts is not None:
            if action.ndim == 1:
                np.add.at(self.counts, (codes, action), 1)
            else:
                np.add.at(self.counts, (codes[:, None], np.arange(action.shape[1]), action), 1)
        return action

    @property
    def calm(self) -> NDArray[np.bool_]:
        """The rows that explore least, whose episodes say most about greedy ones: without novelty, in the lower half of the
        ladder.  -> (E,), at least one True."""
        return np.asarray((self.novelty == 0.0) & (self.rungs <= np.median(self.rungs)), np.bool_)

    def _strength(self, fraction: float) -> NDArray[np.float64]:
        if self.config.anneal == 0.0 or fraction >= self.config.anneal:
            return self.rungs
        done = fraction / self.config.anneal
        return np.where(self.exploring, self.config.initial ** (1 - done) * self.rungs**done, self.rungs)

    def _choose(
        self, value: NDArray[np.float64], allowed: NDArray[np.bool_], strength: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        if self.config.duration_exponent:
            self._pass_time(len(value))
        noise = self._held("noise", self.rng.gumbel(size=value.shape))
        if self.config.rule == "boltzmann":  # Gumbel trick: the argmax of logits + noise is a sample of the softmax
            return np.asarray(np.argmax(value / _by_row(strength, value) + noise, axis=-1), np.int64)
        tied = np.isclose(value, value.max(axis=-1, keepdims=True), rtol=1e-6, atol=1e-9)
        greedy: NDArray[np.int64] = np.argmax(
            np.where(tied, noise, -np.inf), axis=-1
        )  # ties are broken at random, not by number
        if self.config.rule == "greedy":
            return greedy
        tried = self._held("tried", self.rng.gumbel(size=value.shape))
        coin = self._held("coin", self.rng.random(value.shape[:-1]))
        chosen: NDArray[np.int64] = np.where(
            coin < _by_row(strength, coin), np.argmax(np.where(allowed, tried, -np.inf), axis=-1), greedy
        )
        return chosen

    def _pass_time(self, count: int) -> None:
        """Determine which rows sample again, and for how many steps."""
        self.over = self.left == 0
        lengths = np.minimum(self.rng.zipf(self.config.duration_exponent, count), LONGEST)
        self.left = np.where(self.over, lengths, self.left) - 1

    def _held(self, name: str, drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return one random draw per environment; with `duration_exponent`, the one that the row still holds."""
        if self.config.duration_exponent:
            if name in self.held:
                drawn = np.where(_by_row(self.over, drawn), drawn, self.held[name])
            self.held[name] = drawn
        return drawn

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed run needs to choose the same actions."""
        state: dict[str, Any] = {"rng": self.rng.bit_generator.state}
        if self.config.duration_exponent:
            state |= {"left": self.left, "held": dict(self.held)}
        if self.counts is not None:
            tried = np.flatnonzero(self.counts)
            state["tried"], state["times"] = tried, self.counts.reshape(-1)[tried]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.rng.bit_generator.state = state["rng"]
        if self.config.duration_exponent:
            self.left = state["left"].copy()
            self.held = {name: held.copy() for name, held in state["held"].items()}
        if self.counts is not None:
            self.counts[:] = 0
            self.counts.reshape(-1)[state["tried"]] = state["times"]


def _by_row(rows: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """(E,) with as many axes as `like`, to be combined with it row by row."""
    return rows.reshape(-1, *([1] * (like.ndim - 1)))
