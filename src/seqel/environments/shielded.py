"""A `VectorStream` whose masks also exclude what a shield vetoes, so that acting, replay and targets use the same mask."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from seqel.environments.vector import StepResult, VectorStream
from seqel.errors import EnvironmentFault
from seqel.safety.shield import Shield
from seqel.spaces import ActionSpec, ObservationSpec

__all__ = ["ShieldedStream"]


class ShieldedStream(VectorStream):
    """Masks are the environment's and the shield's together. The shield reads each row's episode from its first step on.

    Raises:
        EnvironmentFault: at a step, the environment's mask forbids every action that the shield allows.
    """

    def __init__(
        self, envs: VectorEnv[Any, Any, Any], spec: ObservationSpec, action: ActionSpec, shield: Shield
    ) -> None:
        super().__init__(envs, spec, action)
        self.shield = shield
        self.mask = self.unmasked()
        self._state = shield.initial(self.count)

    def reset(self, seeds: list[int | None], rows: NDArray[np.bool_] | None = None) -> None:
        super().reset(seeds, rows)
        self._begin(np.ones(self.count, bool) if rows is None else rows)

    def step(self, action: NDArray[np.int64]) -> StepResult:
        outcome = super().step(action)
        given = self.mask  # of the observations to act on, which may be those of new episodes
        after, allowed = self.shield.read(
            self._state,
            outcome.reached,
            previous_action=np.asarray(action, np.int64).reshape(self.count, -1),
            reward=outcome.reward.astype(np.float32),
            first=~outcome.stepped,
        )
        ended = outcome.ended
        reached = self._both(outcome.mask, allowed, ended)
        self._state = after
        began = self.first & outcome.stepped  # the next episode has begun already
        assert given is not None
        self.mask = np.where(self._by_row(began), given, reached)
        if began.any():
            self._begin(began)
        return StepResult(
            outcome.reached,
            outcome.reward,
            outcome.terminated,
            outcome.truncated,
            outcome.stepped,
            outcome.info,
            reached,
        )

    def _begin(self, rows: NDArray[np.bool_]) -> None:
        """Start the shield's history of rows whose episode has just begun."""
        nothing = np.zeros((self.count, self.action_spec.dims), np.int64)
        state, allowed = self.shield.read(
            self._state, self.current, previous_action=nothing, reward=np.zeros(self.count), first=rows
        )
        self._state[rows] = state[rows]
        assert self.mask is not None
        mask = self._both(self.mask, allowed, ~rows)
        self.mask = np.where(self._by_row(rows), mask, self.mask)

    def _both(
        self, mask: NDArray[np.bool_] | None, allowed: NDArray[np.bool_], over: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Combine masks. Where an episode is `over`, no action is taken, and an empty mask is opened to the shield's own."""
        safe = allowed.reshape(self.unmasked().shape)
        both = safe if mask is None else mask & safe
        empty = ~both.any(axis=-1, keepdims=True)
        bad = empty.reshape(self.count, -1).any(axis=1) & ~over
        if bad.any():
            raise EnvironmentFault(
                f"environment {int(np.flatnonzero(bad)[0])}: its action mask forbids every action that the shield allows; "
                f"the fallback {self.shield.fallback} must stay allowed"
            )
        return np.where(empty, safe, both)
