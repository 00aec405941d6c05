"""The marks of Wordle: what a guess reveals, how an observation shows it, and what follows from all guesses so far."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seqel.tasks.wordle.words import LETTERS

__all__ = ["CODES", "HERE", "NOTHING", "UNMARKED", "Knowledge", "feedback", "feedback_table", "observed"]

ABSENT, ELSEWHERE, HERE = 0, 1, 2  # of a letter of a guess
# in an observation, a letter and its mark are one code, so that their meaning together need not be learned
NOTHING, CODES, UNMARKED = 0, 1 + 4 * LETTERS, -1


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


class Knowledge:
    """What the marks of some guesses say about the secret, letter by letter.

    A letter may stand in a place unless a mark rules it out; occurs at least as often as one guess credited it, and at most
    so often if that guess has it marked absent as well. A word fits if its letters satisfy these, which is almost, but not
    exactly, that it would have given the same marks for every guess.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self.least = np.zeros(LETTERS, np.int64)  # how often each letter occurs at least
        self.most = np.full(LETTERS, length)  # and at most
        self._free = np.ones((length, LETTERS), np.bool_)  # that no mark ruled out

    def add(self, guess: NDArray[np.int64], marks: NDArray[np.int64]) -> None:
        """Add the marks (length,) of a guess (length,)."""
        places = np.arange(self.length)
        here, credited = marks == HERE, marks != ABSENT
        self._free[places[~here], guess[~here]] = False
        fixed, letters = places[here], guess[here]
        self._free[fixed] = False
        self._free[fixed, letters] = True
        counts = np.bincount(guess[credited], minlength=LETTERS)
        self.least = np.maximum(self.least, counts)
        absent = guess[~credited]
        self.most[absent] = np.minimum(self.most[absent], counts[absent])

    def describe(self, written: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return what matters for the rest of a guess whose first letters are written, ((length + 2) x 26,) of 0 and 1.

        First, for each place from the one that is written next on (then zeros, `length` rows in all), which letters may
        occur there; then which letters have to come once more at least; then which twice.
        """
        count = len(written)
        used = np.bincount(written, minlength=LETTERS)
        found = np.zeros((self.length + 2, LETTERS), np.uint8)
        found[: self.length - count] = self._free[count:] & (used < self.most)
        missing = self.least - used
        found[-2], found[-1] = missing > 0, missing > 1
        return found.reshape(-1)
