"""Combination Lock: several actions at once, and a memory of what each of them must be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from seqel.errors import ConfigError, EnvironmentFault, SpaceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["CombinationLock", "FlatCombinationLock", "optimal_action"]

BLANK = 0  # what a dial shows after the first step


class CombinationLock(gymnasium.Env["NDArray[np.int64]", "NDArray[np.int64]"]):
    """See a combination, wait, then set every dial to it at once.

    Observation, MultiDiscrete (dials + 1,): at the first step the position 1..P that each dial must be set to, drawn
    evenly, and 0 from then on; the last number is 1 at the step whose action the lock reads, and 0 before. The action,
    MultiDiscrete (dials,), is a position 0..P-1 of each dial; before the last step it changes nothing.

    The episode lasts `delay` + 1 steps and its end is `terminated`. The last step is rewarded with the share of the dials
    that are right, all other steps with 0. The best return is exactly 1; random play, and the best player without memory,
    get 1/P on average. `info["is_success"]` says at the end whether the lock opened, that is, whether all dials were right:
    by chance one time in P^dials.

    Raises ConfigError (fewer than 1 dial, 2 positions or 1 step of delay), SpaceError (not an action), EnvironmentFault (a
    step without an open episode).
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own shape)

    def __init__(self, dials: int = 3, positions: int = 5, delay: int = 4) -> None:
        if dials < 1 or positions < 2 or delay < 1:
            raise ConfigError(
                f"expected at least 1 dial, 2 positions and a delay of 1, got {dials}, {positions} and {delay}"
            )
        self.dials, self.positions, self.delay = dials, positions, delay
        self.observation_space = gymnasium.spaces.MultiDiscrete([positions + 1] * dials + [2])
        self.action_space: gymnasium.Space[Any] = gymnasium.spaces.MultiDiscrete([positions] * dials)
        self._target = np.zeros(dials, np.int64)
        self._left = 0  # steps of the episode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.int64], dict[str, Any]]:
        super().reset(seed=seed)
        self._target = self.np_random.integers(self.positions, size=self.dials)
        self._left = self.delay + 1
        return self._observe(self._target + 1), {}

    def step(self, action: NDArray[np.int64]) -> tuple[NDArray[np.int64], float, bool, bool, dict[str, Any]]:
        if self._left == 0:
            raise EnvironmentFault("expected a reset before this step: no episode is open")
        dials = self._read(action)
        self._left -= 1
        blank = np.full(self.dials, BLANK)
        if self._left:
            return self._observe(blank), 0.0, False, False, {}
        right = dials == self._target
        return self._observe(blank), float(right.mean()), True, False, {"is_success": bool(right.all())}

    def _read(self, action: Any) -> NDArray[np.int64]:
        """The position that each dial is set to.  -> (dials,)."""
        if not self.action_space.contains(action):
            raise SpaceError(f"expected {self.dials} positions from 0 to {self.positions - 1}, got {action!r}")
        return np.asarray(action, np.int64)

    def _observe(self, shown: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.append(shown, int(self._left == 1))


class FlatCombinationLock(CombinationLock):
    """The same lock with one Discrete action that numbers the P^dials combinations: what several actions are compared to."""

    def __init__(self, dials: int = 3, positions: int = 5, delay: int = 4) -> None:
        super().__init__(dials, positions, delay)
        self.action_space = gymnasium.spaces.Discrete(positions**dials)

    def _read(self, action: Any) -> NDArray[np.int64]:
        if not self.action_space.contains(action):
            raise SpaceError(f"expected a number from 0 to {self.positions**self.dials - 1}, got {action!r}")
        return np.array(np.unravel_index(int(action), (self.positions,) * self.dials), np.int64)


def optimal_action(observations: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """What opens the lock after these observations of an episode, from its first: the combination shown there.

    Raises ValueError where there is no observation yet.
    """
    if len(observations) == 0:
        raise ValueError("expected the observations of an episode, from its first, got none")
    return np.asarray(observations[0][:-1] - 1, np.int64)
