"""Courier: hurry where it pays and is not dangerous. A briefing at the first step says which kinds of road are dangerous."""

from __future__ import annotations

from typing import Any, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import NDArray

from seqel.errors import ConfigError, EnvironmentFault, SpaceError

__all__ = ["KINDS", "Courier", "ThresholdPolicy", "best_within"]

KINDS = 4  # of roads


class ThresholdPolicy(NamedTuple):
    """The best policy within a limit: hurry where the gain is at least `price` times the risk."""

    price: float
    reward: float  # mean per episode
    cost: float  # mean per episode


class Courier(gymnasium.Env["NDArray[np.float32]", np.int64]):
    """Ride along `roads` roads; on each, ride calmly (0) or hurry (1). A task with a cost, to be limited.

    Observation, float32 (2 KINDS + 1,): the risk of each kind of road, at the first step only (0 afterwards); the kind of
    the road ahead, one-hot; and what hurrying there gains. Risks are uniform in [0, 1] in each episode, gains in each step.
    At the first step there is no road yet, and the action does nothing. Reward: the gain, if the agent hurries; otherwise 0.
    `info["cost"]`: the risk of that road, if the agent hurries; otherwise 0. The risks must be remembered: without them an
    agent can only hurry by the gain.

    Raises ConfigError (no roads), SpaceError (invalid action), EnvironmentFault (a step before the first reset, or after the
    end).
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own shape)

    def __init__(self, roads: int = 30) -> None:
        if roads < 1:
            raise ConfigError(f"roads: expected at least 1, got {roads}")
        self.roads = roads
        # suggested settings; a road depends on no other, so nothing is lost by looking only ten roads ahead
        self.metadata = {**self.metadata, "seqel": {"discount": 0.9, "context": roads + 1}}
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (2 * KINDS + 1,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)
        self._risk: NDArray[np.float64] = np.zeros(KINDS)
        self._kind: NDArray[np.int64] = np.zeros(0, np.int64)
        self._gain: NDArray[np.float64] = np.zeros(0)
        self._at = roads  # number of the road ahead; -1: the briefing

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._risk = self.np_random.uniform(size=KINDS)
        self._kind = self.np_random.integers(KINDS, size=self.roads)
        self._gain = self.np_random.uniform(size=self.roads)
        self._at = -1
        return self._observe(), {}

    def step(self, action: np.int64 | int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        if self._at >= self.roads:
            raise EnvironmentFault("expected a reset before this step: no episode is open")
        if not self.action_space.contains(action):
            raise SpaceError(f"expected an action 0 (calmly) or 1 (hurry), got {action!r}")
        hurries = bool(action) and self._at >= 0
        reward = float(self._gain[self._at]) if hurries else 0.0
        cost = float(self._risk[self._kind[self._at]]) if hurries else 0.0
        self._at += 1
        return self._observe(), reward, self._at == self.roads, False, {"cost": cost}

    def _observe(self) -> NDArray[np.float32]:
        found = np.zeros(2 * KINDS + 1, np.float32)
        if self._at < 0:
            found[:KINDS] = self._risk
        elif self._at < self.roads:
            found[KINDS + int(self._kind[self._at])] = 1.0
            found[-1] = self._gain[self._at]
        return found


def best_within(limit: float, roads: int = 30) -> ThresholdPolicy:
    """Return the policy with the largest mean reward among those with a mean cost per episode of at most `limit`.

    Each road is a choice of its own, so the best policy hurries where gain >= price * risk (a continuous knapsack). With gain
    and risk uniform in [0, 1], a price p costs 1/2 - p/3 and earns 1/2 - p^2/6 per road if p <= 1, and 1/(6 p^2) and 1/(3 p)
    otherwise.

    Raises ConfigError: the limit is negative.
    """
    if limit < 0.0:
        raise ConfigError(f"limit: expected at least 0, got {limit}")
    each = limit / roads
    if each == 0.0:
        return ThresholdPolicy(float("inf"), 0.0, 0.0)
    if each >= 0.5:
        return ThresholdPolicy(0.0, roads / 2.0, roads / 2.0)
    price = 3.0 * (0.5 - each) if each >= 1.0 / 6.0 else (1.0 / (6.0 * each)) ** 0.5
    reward = 0.5 - price**2 / 6.0 if price <= 1.0 else 1.0 / (3.0 * price)
    return ThresholdPolicy(price, roads * reward, limit)
