"""The Lagrange multiplier of a constraint: how much reward a unit of cost is worth, so that the mean cost meets its limit.

A PI controller on the mean cost of training episodes (Stooke, Achiam & Abbeel 2020, arXiv:2007.03964): the integral part is
dual ascent, which alone would oscillate, because a policy follows the multiplier with delay; the proportional part damps it.
Differs: no derivative part, and the error is relative to the limit and at most 1, so that one setting suits every unit.
Only the environments that explore least are counted, because exploration has costs of its own.
"""

from __future__ import annotations

from typing import Any

__all__ = ["CostMultiplier"]

MEMORY = 0.05  # weight of the newest episode in the mean cost: about the last 20 episodes
INTEGRAL, PROPORTIONAL = 0.02, 0.5  # per episode, and at once; in return scales per limit


class CostMultiplier:
    """Follows the costs of episodes. `limit`: the largest mean cost per episode, at least 0."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.unit = limit or 1.0  # of the error; a limit of 0 has none of its own
        self.mean: float | None = None  # cost per episode, of the last ones
        self.integral = 0.0

    def observe(self, cost: float) -> None:
        """Count an episode that has ended."""
        self.mean = cost if self.mean is None else self.mean + MEMORY * (cost - self.mean)
        self.integral = max(0.0, self.integral + INTEGRAL * self.error)

    @property
    def error(self) -> float:
        """How far the mean cost is above the limit, relative to the limit; -1 to 1."""
        return 0.0 if self.mean is None else max(-1.0, min(1.0, (self.mean - self.limit) / self.unit))

    def value(self, scale: float) -> float:
        """Return the multiplier, in reward per unit of cost; `scale`: the return scale, in units of reward."""
        return max(0.0, self.integral + PROPORTIONAL * self.error) * scale / self.unit

    def state_dict(self) -> dict[str, Any]:
        """Return what an exact resume needs."""
        return {"mean": self.mean, "integral": self.integral}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.mean, self.integral = state["mean"], float(state["integral"])
