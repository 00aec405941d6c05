"""Memory Cards: pairs of cards lie face down; find the partner of the shown card from what was shown before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from seqel.errors import ConfigError, EnvironmentFault, SpaceError

__all__ = ["MemoryCards", "perfect_memory"]

HIDDEN = 0


class MemoryCards(gymnasium.Env["NDArray[np.int64]", np.int64]):
    """The card game of Esslinger et al. 2022 (arXiv:2206.01078): 2 x `pairs` cards, shuffled, face down.

    Observation, MultiDiscrete (2 pairs,): for each card, 0 if hidden, 1..pairs for its picture, pairs + 1 if removed. At
    each step exactly one of the remaining cards, drawn uniformly, is shown. The action names a card: if it is the partner,
    the reward is 0 and both are removed; otherwise the reward is -1. The episode terminates when all cards are removed;
    registered with a limit of 50 steps. A card that was named wrongly is not shown. `info["is_success"]` says whether all
    pairs were found.

    Raises ConfigError (pairs < 1), SpaceError (invalid action), EnvironmentFault (a step without an open episode).
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own shape)

    def __init__(self, pairs: int = 5) -> None:
        if pairs < 1:
            raise ConfigError(f"pairs: expected at least 1, got {pairs}")
        self.pairs = pairs
        self.observation_space = gymnasium.spaces.MultiDiscrete([pairs + 2] * (2 * pairs))
        self.action_space = gymnasium.spaces.Discrete(2 * pairs)
        self._picture = np.zeros(2 * pairs, np.int64)
        self._removed = np.ones(2 * pairs, bool)
        self._shown = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.int64], dict[str, Any]]:
        super().reset(seed=seed)
        self._picture = self.np_random.permutation(np.repeat(np.arange(1, self.pairs + 1), 2))
        self._removed[:] = False
        return self._show(), {}

    def step(self, action: np.int64 | int) -> tuple[NDArray[np.int64], float, bool, bool, dict[str, Any]]:
        if self._removed.all():
            raise EnvironmentFault("expected a reset before this step: no episode is open")
        if not self.action_space.contains(action):
            raise SpaceError(f"expected a card, 0 to {2 * self.pairs - 1}, got {action!r}")
        partner = action != self._shown and self._picture[action] == self._picture[self._shown]
        if partner:
            self._removed[action] = self._removed[self._shown] = True
        done = bool(self._removed.all())
        observation = self._observe() if done else self._show()
        return observation, 0.0 if partner else -1.0, done, False, {"is_success": done}

    def _show(self) -> NDArray[np.int64]:
        self._shown = int(self.np_random.choice(np.flatnonzero(~self._removed)))
        observation = self._observe()
        observation[self._shown] = self._picture[self._shown]
        return observation

    def _observe(self) -> NDArray[np.int64]:
        return np.where(self._removed, self.pairs + 1, HIDDEN)


def perfect_memory(observations: Sequence[NDArray[np.int64]], actions: Sequence[int]) -> int:
    """Return the action of a policy with perfect memory, given T + 1 observations of an episode and its T actions.

    It names the partner if that has been shown, else the first card that may be it: one that was never shown, has not been
    removed, and was not named in vain when this picture was shown. (The optimal policy would also weigh what a guess
    reveals.)
    """
    removed = int(observations[0].shape[0] // 2 + 1)
    up = [int(np.flatnonzero((seen != HIDDEN) & (seen != removed))[0]) for seen in observations]
    known = {card: int(seen[card]) for seen, card in zip(observations, up, strict=True)}
    shown, now = up[-1], observations[-1]
    picture = known[shown]
    there = [card for card in range(len(now)) if now[card] != removed and card != shown]
    partners = [card for card in there if known.get(card) == picture]
    in_vain = {
        named
        for seen, card, named in zip(observations, up, actions, strict=False)
        if seen[card] == picture and now[named] != removed
    }
    return (partners or [card for card in there if card not in known and card not in in_vain] or there)[0]
