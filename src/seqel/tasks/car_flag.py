"""Car Flag: two flags, one good and one bad. A sign halfway to one of them shows which is which.

-1 flag ......... start ... [sign here] ... +1 flag        (either flag may be the good one)
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from seqel.errors import EnvironmentFault, SpaceError

__all__ = ["CarFlag"]

FLAG = 1.0  # the flags are at +1 and -1
EDGE = 1.1  # positions are within this
TOP_SPEED = 0.07
POWER = 0.0015  # speed gained per step
SIGN, REACH = 0.5, 0.2  # the sign can be read within REACH of SIGN
START = 0.2  # the car starts within this of the middle


class CarFlag(gymnasium.Env["NDArray[np.float32]", np.int64]):
    """Drive to the good flag (Nguyen 2021, pomdp-domains; as in Esslinger et al. 2022, arXiv:2206.01078).

    Observation, float32 (3,): position, velocity, and the sign: +1 or -1, the side of the good flag, while the car is
    within 0.2 of position 0.5, and 0 elsewhere. Actions: 0 push left, 1 nothing, 2 push right. Reward +1 at the good
    flag and -1 at the bad one, both of which terminate the episode; 0 elsewhere. Registered with a limit of 200 steps. An
    agent that ignores the sign, or forgets it, averages 0. `info["is_success"]` says whether the good flag was reached.

    Raises SpaceError (invalid action), EnvironmentFault (a step before the first reset, or after the end).
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own shape)

    def __init__(self) -> None:
        high = np.array([EDGE, TOP_SPEED, 1.0], np.float32)
        self.observation_space = gymnasium.spaces.Box(-high, high, dtype=np.float32)
        self.action_space = gymnasium.spaces.Discrete(3)
        self._position = self._velocity = 0.0
        self._good = 1  # side of the good flag
        self._open = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._good = 2 * int(self.np_random.integers(2)) - 1
        self._position, self._velocity, self._open = float(self.np_random.uniform(-START, START)), 0.0, True
        return self._observe(), {}

    def step(self, action: np.int64 | int) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        if not self._open:
            raise EnvironmentFault("expected a reset before this step: no episode is open")
        if not self.action_space.contains(action):
            raise SpaceError(f"expected an action 0 (left), 1 (nothing) or 2 (right), got {action!r}")
        self._velocity = float(np.clip(self._velocity + (int(action) - 1) * POWER, -TOP_SPEED, TOP_SPEED))
        self._position = float(np.clip(self._position + self._velocity, -EDGE, EDGE))
        arrived = abs(self._position) >= FLAG
        self._open = not arrived
        success = arrived and self._position * self._good > 0
        reward = float(arrived) * (1.0 if success else -1.0)
        return self._observe(), reward, arrived, False, {"is_success": success}

    def _observe(self) -> NDArray[np.float32]:
        sign = self._good if abs(self._position - SIGN) <= REACH else 0
        return np.array([self._position, self._velocity, sign], np.float32)
