"""Wordle: find a word of five letters in six guesses, one letter per step, from what every guess revealed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from seqel.errors import ConfigError, EnvironmentFault, SpaceError
from seqel.tasks.wordle.marks import CODES, NOTHING, UNMARKED, Knowledge, feedback, observed
from seqel.tasks.wordle.words import LETTERS, Secrets, codes_of, split_secrets, word_list

__all__ = ["Mask", "Observe", "Wordle"]

Mask = Literal["none", "words", "consistent"]
Observe = Literal["guess", "knowledge"]


class Wordle(gymnasium.Env[dict[str, Any], np.int64]):
    """The game with its own rules: a letter per step, a word per guess, marks after each.

    Observation: "letters" (5,), those of the guess that is being written or, at its first letter, of the guess before, with
    their marks (`observed`); "place", the letter that is written next; "guess", how many guesses were made. Earlier guesses
    have to be remembered. With `observe="knowledge"` there is also "knowledge" (182,), which says it (`Knowledge.describe`).
    Reward: -1 for a wrong guess, 0 for the right one, so the return is minus the number of wrong guesses; and minus `penalty`
    for a lost game. `info["is_success"]` at the end; the secret is `info["secret"]`.

    mask: what `info["action_mask"]` allows: "words": letters that continue some allowed word; "consistent": that continue one
    that agrees with all marks so far; "none": there is no mask, and what is no word is a wrong guess without marks.
    secrets: "train", "held-out" (a fifth of the answers), or "all".

    Raises ConfigError (a bad list), SpaceError (an action that is no letter, or is masked), EnvironmentFault (a step without
    an open episode).
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium's own shape)

    def __init__(
        self,
        secrets: Secrets = "train",
        words: Literal["answers", "guesses"] = "answers",
        mask: Mask = "words",
        guesses: int = 6,
        answers: Sequence[str] | None = None,
        observe: Observe = "guess",
        penalty: float = 0.0,
    ) -> None:
        if guesses < 1:
            raise ConfigError(f"guesses: expected at least 1, got {guesses}")
        if mask not in get_args(Mask):
            raise ConfigError(f"mask: expected one of {', '.join(get_args(Mask))}, got {mask!r}")
        if observe not in get_args(Observe):
            raise ConfigError(f"observe: expected one of {', '.join(get_args(Observe))}, got {observe!r}")
        if not 0.0 <= penalty < float("inf"):
            raise ConfigError(f"penalty: expected a finite number of at least 0, got {penalty}")
        every = list(word_list("answers") if answers is None else answers)
        allowed = list(word_list("guesses")) if words == "guesses" and answers is None else every
        self.secrets = codes_of(split_secrets(every, secrets) or every)
        self.length, self.guesses, self.mask, self.observe = self.secrets.shape[1], guesses, mask, observe
        self.penalty = penalty
        self.metadata = {"render_modes": [], "seqel": {"discount": 1.0, "context": guesses * self.length + 1}}
        self._allowed = self._left = codes_of(allowed)
        self._words = {tuple(word) for word in self._allowed.tolist()}
        self._next = _trie(self._words)
        self._none = np.zeros(LETTERS, np.bool_)
        self._may = self._none  # which letters are allowed now
        self._knowledge = Knowledge(self.length)
        seen: dict[str, spaces.Space[Any]] = {
            "letters": spaces.MultiDiscrete([CODES] * self.length),
            "place": spaces.Discrete(self.length),
            "guess": spaces.Discrete(guesses + 1),
        }
        if observe == "knowledge":
            seen["knowledge"] = spaces.MultiBinary((self.length + 2) * LETTERS)
        self.observation_space = spaces.Dict(seen)
        self.action_space = spaces.Discrete(LETTERS)
        self._written: tuple[int, ...] = ()
        self._last = np.zeros(self.length, np.int64)  # the last guess, as it is observed
        self._made = guesses
        self._over = True
        self._secret = self.secrets[0]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Draw a secret; `options={"secret": "crane"}` sets it."""
        super().reset(seed=seed)
        self._secret = self.secrets[int(self.np_random.integers(len(self.secrets)))]
        if options and "secret" in options:
            self._secret = codes_of([str(options["secret"])])[0]
        self._written, self._made, self._over = (), 0, False
        self._last[:] = NOTHING
        self._left = self._allowed
        self._knowledge = Knowledge(self.length)
        return self._observe(), self._info()

    def step(self, action: np.int64 | int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if self._over:
            raise EnvironmentFault("expected a reset before this step: no episode is open")
        if not self.action_space.contains(action):
            raise SpaceError(f"expected a letter, 0 to {LETTERS - 1}, got {action!r}")
        if self.mask != "none" and not self._may[action]:
            raise SpaceError(f"expected a letter that the mask allows, got {chr(ord('a') + int(action))!r}")
        self._written = (*self._written, int(action))
        if len(self._written) < self.length:
            return self._observe(), 0.0, False, False, self._info()
        guess, self._written = np.array(self._written, np.int64), ()
        self._made += 1
        known = tuple(guess.tolist()) in self._words
        marks = feedback(guess, self._secret)
        self._last = observed(guess, marks if known else UNMARKED)
        if known:
            self._knowledge.add(guess, marks)
        if self.mask == "consistent":
            self._left = self._left[(feedback(guess, self._left) == marks).all(axis=1)]
        right = bool((guess == self._secret).all())
        self._over = right or self._made == self.guesses
        info = self._info()
        if self._over:
            info |= {"is_success": right, "secret": "".join(chr(ord("a") + letter) for letter in self._secret)}
        reward = 0.0 if right else -1.0 - self.penalty * self._over
        return self._observe(), reward, self._over, False, info

    def allowed(self, written: Sequence[int] | NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which letters the mask allows after the letters that are written, (26,); none after a whole word."""
        count = len(written)
        if self.mask == "consistent" and count < self.length:
            found = self._none.copy()
            found[self._left[(self._left[:, :count] == np.asarray(written)).all(axis=1), count]] = True
            return found
        return self._next.get(tuple(int(letter) for letter in written), self._none).copy()

    def _observe(self) -> dict[str, Any]:
        letters = self._last.copy()
        if self._written:
            letters[:] = NOTHING
            letters[: len(self._written)] = observed(np.array(self._written), UNMARKED)
        seen = {"letters": letters, "place": np.int64(len(self._written)), "guess": np.int64(self._made)}
        if self.observe == "knowledge":
            seen["knowledge"] = self._knowledge.describe(np.array(self._written, np.int64)).astype(np.int8)
        return seen

    def _info(self) -> dict[str, Any]:
        if self.mask == "none":
            return {}
        self._may = self.allowed(self._written)
        return {"action_mask": self._may.copy()}


def _trie(words: set[tuple[int, ...]]) -> dict[tuple[int, ...], NDArray[np.bool_]]:
    """Return which letters continue a word, (26,), by the letters written so far."""
    found: dict[tuple[int, ...], NDArray[np.bool_]] = {}
    for word in words:
        for place, letter in enumerate(word):
            found.setdefault(word[:place], np.zeros(LETTERS, np.bool_))[letter] = True
    return found
