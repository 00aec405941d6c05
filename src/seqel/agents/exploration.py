"""Exploration: Boltzmann or epsilon-greedy, as a ladder over the parallel environments, and a count bonus.

The ladder follows Horgan et al. 2018, arXiv:1803.00933 (there for epsilon): some environments exploit, others explore more.
The count bonus is c / sqrt(1 + n(observation, action)) (Strehl & Littman 2008, MBIE-EB). Differs: it is added only when an
action is selected, so the learned values remain those of the task. Counts are in a table of fixed size, indexed by a hash
of a sketch of the observation: exact for codes, rounded for a few numbers, signs of random projections for many
(Tang et al. 2017, arXiv:1611.04717).

`persist` holds the random part of a choice for a random number of steps (Dabney et al. 2020, arXiv:2006.01782, for epsilon):
a push in the same direction for a while gets further than a new one at each step. Differs: with Boltzmann exploration, the
noise on the values is held instead of the action, so values that differ clearly still decide.

If an action has M dimensions, each is chosen by its own values at the row's temperature (or with the row's epsilon), and has
its own counts. `persist` holds all dimensions of a row together.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.agents.config import ExplorationConfig
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.spaces.kinds.base import Normalise, Sketch
from seqel.spaces.kinds.registry import KINDS

__all__ = ["CountTable", "Explorer", "ladder"]

TABLE_ROWS = 1 << 17
LONGEST = 1_000  # most steps for which a random part is held


def ladder(low: float, high: float, rungs: int) -> NDArray[np.float64]:
    """Return a geometric sequence from low to high: (rungs,); a single rung is the geometric mean."""
    if rungs == 1:
        return np.array([np.sqrt(low * high)])
    return np.geomspace(low, high, rungs)


class CountTable:
    """Counts how often each action was tried at each (sketched) observation; a fixed number of rows, with collisions."""

    def __init__(self, observation: ObservationSpec, actions: int | tuple[int, ...], normalise: Normalise) -> None:
        """`actions`: A, or (M, A)."""
        self._leaves = observation.leaves
        self._normalise = normalise
        shape = actions if isinstance(actions, tuple) else (actions,)
        self.counts = np.zeros((TABLE_ROWS, *shape), np.uint32)
        rng = np.random.default_rng(20_240_521)  # the sketch is part of the method, not of a run's seed
        self._odd: dict[str, NDArray[np.uint64]] = {}
        self._sketchers: dict[str, Sketch] = {}
        for leaf in self._leaves:
            kind = KINDS[leaf.kind]
            width = kind.sketch_width(leaf)
            self._odd[leaf.path] = rng.integers(1 << 62, size=width, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
            self._sketchers[leaf.path] = kind.sketcher(leaf, rng)

    def rows(self, observation: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Return the table's row for each observation. Leaves (E, *shape) -> (E,)."""
        total: NDArray[np.uint64] | None = None
        for leaf in self._leaves:
            code = self._sketchers[leaf.path](observation[leaf.path], self._normalise).astype(np.uint64)
            part = ((code + np.uint64(1)) * self._odd[leaf.path]).sum(axis=1, dtype=np.uint64)
            total = part if total is None else total * np.uint64(6364136223846793005) + part
        assert total is not None
        total ^= total >> np.uint64(29)
        index: NDArray[np.int64] = ((total * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - 17)).astype(np.int64)
        return index


class Explorer:
    """Selects actions with exploration from Q-values. Owns its random generator and its counts; both are saved.

    `fraction` is the share of the run that is over; it controls annealing.
    """

    def __init__(
        self,
        config: ExplorationConfig,
        environments: int,
        observation: ObservationSpec,
        actions: ActionSpec | int,
        seed: int,
        normalise: Normalise,
        exploring: NDArray[np.bool_] | None = None,
    ) -> None:
        """`exploring` (E,): the rows that use the ladder and the bonus; the others use its lowest rung.

        `actions`: the spec, or A for one dimension counted from 0.
        """
        self.config = config
        self.exploring = np.ones(environments, bool) if exploring is None else exploring
        self.rungs = np.full(environments, config.low, np.float64)
        self.rungs[self.exploring] = ladder(config.low, config.high, int(self.exploring.sum()))
        self.bonus = np.where(self.exploring, config.bonus, 0.0)
        self.rng = np.random.default_rng(seed)
        self.unmasked = np.ones(actions, bool) if isinstance(actions, int) else actions.unmasked  # (A,) or (M, A)
        self.table = CountTable(observation, self.unmasked.shape, normalise) if config.bonus > 0 else None
        self.left: NDArray[np.int64] = np.zeros(
            environments, np.int64
        )  # steps for which each row's random part is still held
        self.over: NDArray[np.bool_] = np.ones(environments, bool)
        self.held: dict[str, NDArray[np.float64]] = {}

    def select(
        self,
        q: NDArray[np.float32],
        observation: dict[str, NDArray[Any]],
        mask: NDArray[np.bool_] | None,
        scale: float,
        fraction: float = 1.0,
    ) -> NDArray[np.int64]:
        """Choose and count one action per row. q (E, A) in units of reward, mask (E, A) True = allowed -> (E,).

        If M > 1: q and mask (E, M, A) -> (E, M).
        """
        value = q.astype(np.float64) / scale
        allowed = self.unmasked if mask is None else mask & self.unmasked
        rows: NDArray[np.int64] | None = None
        if self.table is not None:
            rows = self.table.rows(observation)
            value += _by_row(self.bonus, value) / np.sqrt(1.0 + self.table.counts[rows])
        if mask is not None or not self.unmasked.all():
            value = np.where(allowed, value, -np.inf)
        action = self._choose(value, allowed, self._strength(fraction))
        if self.table is not None:
            assert rows is not None
            if action.ndim == 1:
                np.add.at(self.table.counts, (rows, action), 1)
            else:
                np.add.at(self.table.counts, (rows[:, None], np.arange(action.shape[1]), action), 1)
        return action

    def _strength(self, fraction: float) -> NDArray[np.float64]:
        if self.config.anneal == 0.0 or fraction >= self.config.anneal:
            return self.rungs
        done = fraction / self.config.anneal
        return np.where(self.exploring, self.config.initial ** (1 - done) * self.rungs**done, self.rungs)

    def _choose(
        self, value: NDArray[np.float64], allowed: NDArray[np.bool_], strength: NDArray[np.float64]
    ) -> NDArray[np.int64]:
        if self.config.persist:
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
        lengths = np.minimum(self.rng.zipf(self.config.persist, count), LONGEST)
        self.left = np.where(self.over, lengths, self.left) - 1

    def _held(self, name: str, drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return one random draw per environment; with `persist`, the one that the row still holds."""
        if self.config.persist:
            if name in self.held:
                drawn = np.where(_by_row(self.over, drawn), drawn, self.held[name])
            self.held[name] = drawn
        return drawn

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a resumed run needs to choose the same actions."""
        state: dict[str, Any] = {"rng": self.rng.bit_generator.state}
        if self.config.persist:
            state |= {"left": self.left, "held": dict(self.held)}
        if self.table is not None:
            tried = np.flatnonzero(self.table.counts)
            state["tried"], state["times"] = tried, self.table.counts.reshape(-1)[tried]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.rng.bit_generator.state = state["rng"]
        if self.config.persist:
            self.left = state["left"].copy()
            self.held = {name: held.copy() for name, held in state["held"].items()}
        if self.table is not None:
            self.table.counts[:] = 0
            self.table.counts.reshape(-1)[state["tried"]] = state["times"]


def _by_row(rows: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """(E,) with as many axes as `like`, to be combined with it row by row."""
    return rows.reshape(-1, *([1] * (like.ndim - 1)))
