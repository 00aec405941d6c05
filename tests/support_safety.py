"""Helpers of the tests of safety: a set of rules, and a plain interpreter of the same rules on one recorded history."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from seqel.agents.shielding import compile_shield
from seqel.safety.shield import Shield
from seqel.spaces import ActionSpec, ObservationSpec

BOX = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
SPEC = ObservationSpec.from_space(BOX)

# Actions: 0 wait, 1 refund, 2 verify, 3 discount.
RULES = """
fallback = 0

[[rule]]
name = "two refunds"
never = 1
at_most = 2

[[rule]]
name = "verify first"
never = 1
unless = { taken = 2 }

[[rule]]
name = "discounts are rare"
never = 3
when = { taken = 3, within = 5 }

[[rule]]
name = "not when it is hot"
never = [2, 3]
when = { any = [
  { leaf = "observation", index = 0, above = 1.5 },
  { all = [
    { seen = { leaf = "observation", index = 1, below = -1.0 }, within = 2 },
    { quantity = "last_reward", below = 0 },
  ] },
] }

[[rule]]
name = "after the losses"
never = 1
when = { quantity = "total_reward", at_most = -10.0 }
"""


def shield(text: str = RULES, actions: int = 4, observation: ObservationSpec = SPEC) -> Shield:
    return compile_shield(text, observation, ActionSpec((actions,), (0,)))


def forbidden(seen: np.ndarray, actions: list[int], rewards: list[float]) -> set[int]:
    """Return what RULES forbid at the last of T observations (T, 3), after T - 1 actions and rewards."""
    found: set[int] = set()
    if actions.count(1) >= 2:
        found.add(1)
    if 2 not in actions:
        found.add(1)
    if 3 in actions[-5:]:
        found.add(3)
    cold = any(seen[k, 1] < -1.0 for k in range(max(0, len(seen) - 3), len(seen)))
    if seen[-1, 0] > 1.5 or (cold and bool(rewards) and rewards[-1] < 0):
        found |= {2, 3}
    if sum(rewards) <= -10.0:
        found.add(1)
    return found


def violations(seen: np.ndarray, actions: Any, rewards: Any) -> int:
    """Return how many of T actions RULES forbid, given T observations and the rewards of the actions."""
    actions, rewards = list(map(int, actions)), [float(one) for one in rewards]
    return sum(actions[t] in forbidden(seen[: t + 1], actions[:t], rewards[:t]) for t in range(len(actions)))


class Desk(gym.Env[Any, Any]):
    """Random observations; refunds pay most, so that an agent without rules learns to break them. Episodes of 12 steps.

    `history` holds (observations, actions, rewards) of every finished episode. `masked`: action 2 is forbidden at each third
    step.
    """

    finished: list[tuple[np.ndarray, list[int], list[float]]]

    def __init__(self, masked: bool = False) -> None:
        self.observation_space, self.action_space = BOX, gym.spaces.Discrete(4)
        self.masked, self.finished = masked, []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.seen, self.actions, self.rewards = [self._draw()], list[int](), list[float]()
        return self.seen[-1], self._info()

    def _draw(self) -> np.ndarray:
        return self.np_random.standard_normal(3).astype(np.float32)

    def _info(self) -> dict[str, Any]:
        if not self.masked:
            return {}
        return {"action_mask": np.array([1, 1, len(self.actions) % 3 != 2, 1], np.int8)}

    def step(self, action: Any) -> Any:
        assert not (self.masked and int(action) == 2 and len(self.actions) % 3 == 2), "the environment's mask"
        self.actions.append(int(action))
        self.rewards.append(float(np.float32((0.0, 1.0, -0.2, 0.6)[int(action)] - 0.3 * self.np_random.random())))
        self.seen.append(self._draw())
        over = len(self.actions) == 12
        if over:
            self.finished.append((np.stack(self.seen[:-1]), self.actions, self.rewards))
        return self.seen[-1], self.rewards[-1], over, False, self._info()
