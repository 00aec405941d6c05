"""How new observations are: which were reached in the current episode, and in how many episodes so far.

An observation has novelty once per episode, the first time that it is reached. The novelty decreases with the number of
episodes that reached it before: 1 in the first FAMILIAR episodes, then 1 / sqrt(episodes / FAMILIAR). This is the product of
an episodic and a lifelong novelty (Badia et al. 2020, arXiv:2002.06038; Zhang et al. 2020, arXiv:2012.08621). Differs: both
are counts of sketches, not the errors of a network.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.agents.sketch import CODES
from seqel.types import SEEN_BEFORE

__all__ = ["VisitCounts"]

FAMILIAR = 100.0  # episodes
REMEMBERED = 1 << 15  # codes that are distinguished within an episode


class VisitCounts:
    """Counts the episodes that reached each code; remembers what every environment's current episode reached."""

    def __init__(self, environments: int) -> None:
        self.episodes = np.zeros(CODES, np.uint32)
        self.seen = np.zeros((environments, REMEMBERED), np.bool_)

    def begin(self, codes: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Start an episode in the rows (R,), each with its first observation's code (R,), which is not rewarded."""
        self.seen[rows] = False
        self.seen[rows, codes % REMEMBERED] = True

    def reach(self, codes: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int32]:
        """Count what the rows (R,) reached. codes (R,) -> (R,): the code, or SEEN_BEFORE if the episode had reached it."""
        new = ~self.seen[rows, codes % REMEMBERED]
        self.seen[rows, codes % REMEMBERED] = True
        np.add.at(self.episodes, codes[new], 1)
        return np.where(new, codes, SEEN_BEFORE).astype(np.int32)

    def novelty(self, first_visit: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return how new each step's observation is by the present counts, 0 to 1: results of `reach`, any shape."""
        new = first_visit != SEEN_BEFORE
        times = self.episodes[np.where(new, first_visit, 0)]
        return np.where(new, 1.0 / np.sqrt(np.maximum(1.0, times / FAMILIAR)), 0.0).astype(np.float32)

    def state_dict(self) -> dict[str, Any]:
        """Return everything that an exact resume needs."""
        known, seen = np.flatnonzero(self.episodes), np.flatnonzero(self.seen)
        return {"known": known, "episodes": self.episodes[known], "seen": seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.episodes[:] = 0
        self.episodes[state["known"]] = state["episodes"]
        self.seen[:] = False
        self.seen.reshape(-1)[state["seen"]] = True
