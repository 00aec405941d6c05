"""Draws the windows of a batch, uniformly over steps or by the priorities of steps.

Both follow the same rule (`seqel.replay.ring.window_units`): draw a raw start and clip it to the episode. Uniform sampling
draws all raw starts with equal probability. Prioritised sampling (Schaul et al. 2015, arXiv:1511.05952) first draws a step in
proportion to priority^alpha, then one of the raw starts that train it. Differs: priorities belong to steps, not to whole
sequences as in R2D2. The probability of a window, used in its importance weight, is summed over the steps that lead to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqel.errors import CheckpointError, ConfigError, DataError
from seqel.replay.ring import EpisodeTable
from seqel.replay.sumtree import SumTree

__all__ = ["Priorities", "Windows", "draw_uniform"]

LEAST = 1e-3  # added to every error, so that every step can be drawn


@dataclass(frozen=True, slots=True)
class Windows:
    """B chosen windows: the live episode (0 is the oldest), the offset in it, and the number of transitions."""

    row: NDArray[np.int64]  # (B,)
    offset: NDArray[np.int64]  # (B,)  first step, counted from the first stored step of the episode or segment
    numbers: NDArray[np.int64]  # (B, 4 + M)  the episodes' rows of the table
    length: NDArray[np.int64]  # (B,)
    weight: NDArray[np.float32] | None = None  # (B,)  importance weights, the largest of a batch is 1


def draw_uniform(table: EpisodeTable, batch: int, window: int, context: int, rng: np.random.Generator) -> Windows:
    """Draw windows such that every step is trained on about equally often.

    Raises DataError if the stored episodes hold nothing to train on.
    """
    before = table.units_before(window, context)  # (episodes + 1,)
    total = int(before[-1] - before[0])
    _require(total > 0, table, context)
    unit = rng.integers(0, total, size=batch)
    unit += before[0]
    row = before.searchsorted(unit, side="right")
    row -= 1
    numbers = table.numbers.take(row, axis=0)
    length = numbers[:, EpisodeTable.LENGTH]
    # raw start r = draw - (W - c) + 1, clipped to 0 ... L - W; an episode of at most W only has start 0
    raw = unit - before.take(row)
    raw -= window - context - 1
    offset = np.minimum(np.maximum(raw, 0), np.maximum(length - window, 0))
    return Windows(row, offset, numbers, np.minimum(length, window))


class Priorities:
    """A priority for each slot of a replay, and windows drawn by priority.

    alpha: 0 draws steps uniformly, 1 in proportion to their errors. context: the burn-in; the first `context` steps of a
    segment that starts inside an episode are never trained, and have no priority.

    Raises ConfigError unless 0 < alpha <= 1.
    """

    def __init__(self, capacity: int, alpha: float, context: int) -> None:
        if not 0.0 < alpha <= 1.0:
            raise ConfigError(f"expected 0 < alpha <= 1, got {alpha}")
        self.capacity, self.alpha, self.context = capacity, alpha, context
        self.tree = SumTree(capacity)
        self._serial = np.zeros(capacity, np.int64)  # of the episode that a slot belongs to
        self._largest = 1.0  # priority^alpha that new steps get, so that each is trained soon

    @property
    def nbytes(self) -> int:
        """The size of the tree and of the slots' serial numbers in bytes."""
        return self.tree.nbytes + self._serial.nbytes

    def added(self, slot: int, own: NDArray[np.bool_], start: int, serial: int) -> None:
        """Register an episode stored from `slot` on; `own` (T + 1,) marks the steps to train, never the last one."""
        at = self._range(slot, len(own))
        weight = np.where(own, self._largest, 0.0)
        if start > 0:
            weight[: self.context] = 0.0
        self.tree.set(at, weight)
        self._serial[at] = serial

    def removed(self, slot: int, length: int) -> None:
        """Clear the priorities of an evicted episode."""
        self.tree.set(self._range(slot, length + 1), 0.0)

    def update(self, slot: NDArray[np.int64], error: NDArray[np.floating]) -> None:
        """Set the priorities of these slots from their errors, (N,) each, in units of the return scale.

        Raises DataError if an error is not finite.
        """
        if not np.isfinite(error).all():
            raise DataError("expected finite errors for the priorities, got one that is not finite")
        weight = (np.abs(error).astype(np.float64) + LEAST) ** self.alpha
        self.tree.set(slot, weight)
        if len(weight):
            self._largest = max(self._largest, float(weight.max()))

    def draw(
        self, table: EpisodeTable, batch: int, window: int, importance_exponent: float, rng: np.random.Generator
    ) -> Windows:
        """Draw windows, with weights (uniform probability / this probability)^importance_exponent.

        Raises DataError if the stored episodes hold nothing to train on.
        """
        context, spread = self.context, max(window - self.context, 1)
        before = table.units_before(window, context)
        total = self.tree.total
        _require(total > 0.0 and before[-1] > before[0], table, context)
        slot = self.tree.find(rng.random(batch) * total)
        row = self._serial[slot] - table.evicted
        numbers = table.numbers.take(row, axis=0)
        length = numbers[:, EpisodeTable.LENGTH]
        step = (slot - numbers[:, EpisodeTable.SLOT]) % self.capacity
        raw = step - context - rng.integers(0, spread, size=batch)  # step - W + 1 ... step - c
        last = np.maximum(length - window, 0)
        offset = np.minimum(np.maximum(raw, 0), last)
        here = self.probability(numbers, offset, window)
        even = even_units(length, offset, window, context) / float(before[-1] - before[0])
        weight = (even / here) ** importance_exponent
        weight = (weight / weight.max()).astype(np.float32)
        return Windows(row, offset, numbers, np.minimum(length, window), weight)

    def probability(self, numbers: NDArray[np.int64], offset: NDArray[np.int64], window: int) -> NDArray[np.float64]:
        """Return the probability that one draw gives each of these windows: the sum, over its steps, of the priority times
        the share of the step's raw starts that are clipped to this window."""
        context, spread = self.context, max(window - self.context, 1)
        length = numbers[:, EpisodeTable.LENGTH, None]
        last = np.maximum(length - window, 0)
        begin = offset[:, None]
        step = begin + np.arange(window)
        lowest, highest = step - window + 1, step - context  # raw starts that train the step
        lowest = np.where((begin == last) & (begin > 0), np.maximum(lowest, last), lowest)
        highest = np.where((begin == 0) & (last > 0), np.minimum(highest, 0), highest)
        inside = (lowest <= begin) & (begin <= highest)
        between = (begin > 0) & (begin < last)
        count = np.where(between, inside, np.clip(highest - lowest + 1, 0, spread))
        count = np.where(last == 0, spread, count)
        slot = (numbers[:, EpisodeTable.SLOT, None] + step) % self.capacity
        mass = np.where(step < length, self.tree.get(slot), 0.0)
        found: NDArray[np.float64] = (mass * count).sum(axis=1) / (spread * self.tree.total)
        return found

    def _range(self, slot: int, count: int) -> NDArray[np.int64]:
        return (slot + np.arange(count)) % self.capacity

    # -- saving and restoring ------------------------------------------------------------------------------------------

    def state(self, first: int, used: int) -> NDArray[np.float64]:
        """Return the weights of the `used` live slots from `first` on, followed by the weight that new steps get."""
        return np.append(self.tree.get(self._range(first, used)), self._largest)

    def restore(self, weights: NDArray[np.float64], numbers: NDArray[np.int64], evicted: int) -> None:
        """Restore what `state` returned, at the same slots, so that the same draws find the same steps.

        Raises CheckpointError, and changes nothing, if the weights do not fit.
        """
        taken = numbers[:, EpisodeTable.LENGTH] + 1
        used = int(taken.sum())
        if weights.shape != (used + 1,) or not (np.isfinite(weights).all() and (weights >= 0.0).all()):
            raise CheckpointError(f"expected {used + 1} finite priorities of at least 0, got {weights.shape}")
        self.tree = SumTree(self.capacity)
        at = self._range(int(numbers[0, EpisodeTable.SLOT]) if len(numbers) else 0, used)
        self.tree.set(at, weights[:-1])
        self._serial[at] = np.repeat(evicted + np.arange(len(taken)), taken)
        self._largest = float(weights[-1])


def even_units(length: NDArray[np.int64], offset: NDArray[np.int64], window: int, context: int) -> NDArray[np.int64]:
    """Return how many raw starts of a uniform draw become each window: W - c at either end of an episode, 1 between."""
    at_an_end = (offset == 0) | (offset >= length - window)
    return np.where(at_an_end, max(window - context, 1), 1)


def _require(something: bool, table: EpisodeTable, context: int) -> None:
    if not something:
        transitions = int(table.numbers[:, EpisodeTable.LENGTH].sum())
        raise DataError(
            f"expected stored episodes to train on, got {len(table)} episodes or segments of {transitions} "
            f"transitions, none of which is longer than a burn-in of {context}: add episodes first"
        )
