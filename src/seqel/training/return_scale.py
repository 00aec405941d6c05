"""The running size of discounted returns, the unit of values, temperatures and bonuses."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

__all__ = ["ReturnScale"]


class ReturnScale:
    """Root mean square of the discounted returns of recent episodes' steps (about the last 200 episodes).

    Follows the purpose of van Hasselt et al. 2016, arXiv:1602.07714 (adaptive rescaling). Differs: uses the observed
    returns instead of the targets, so that overestimated values cannot enlarge the unit.
    """

    def __init__(self, discount: float, memory: float = 0.995) -> None:
        self.discount, self.memory = discount, memory
        self.weight = 0.0
        self.square = 0.0

    def begin(self, scale: float) -> None:
        """Start with a known scale in units of reward, as if it had been observed in many episodes."""
        self.weight, self.square = 1.0, scale**2

    def observe(self, reward: NDArray[np.float32]) -> None:
        """Update the scale with the rewards (T,) of one episode or segment."""
        # from the last step to the first; Python's floats, because tensors this small cost more than the sums
        returns = accumulate(reward[::-1].tolist(), lambda later, now: now + self.discount * later)
        self.weight = self.memory * self.weight + (1 - self.memory)
        self.square = self.memory * self.square + (1 - self.memory) * sum(g * g for g in returns) / len(reward)

    @property
    def value(self) -> float:
        """The scale in units of reward; 1 while every return was 0."""
        if self.weight == 0.0 or self.square == 0.0:
            return 1.0
        return float(np.sqrt(self.square / self.weight))

    def state_dict(self) -> dict[str, float]:
        """Return the two sums behind the scale."""
        return {"weight": self.weight, "square": self.square}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restore what `state_dict` returned."""
        self.weight, self.square = float(state["weight"]), float(state["square"])
