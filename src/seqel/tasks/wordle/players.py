"""Scripted players of Wordle, and games that they play: baselines, and recorded data of known quality."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seqel.tasks.wordle.marks import HERE, feedback_table
from seqel.tasks.wordle.words import codes_of

__all__ = ["play_games"]


def play_games(
    answers: Sequence[str],
    secrets: Sequence[str],
    rng: np.random.Generator,
    *,
    consistent: float = 1.0,
    guesses: int = 6,
    entropy: bool = False,
) -> list[list[str]]:
    """Play one game per secret and return the words that were guessed.

    With probability `consistent`, a guess is drawn from the answers that agree with all marks so far; else from all
    answers. entropy: each guess is instead the answer whose marks have the largest entropy over those that agree (the first
    of the best, an agreeing one if there is one).
    """
    codes = codes_of(answers)
    table = feedback_table(codes, codes)  # (guess, secret)
    place = {word: number for number, word in enumerate(answers)}
    won = HERE * (3 ** np.arange(codes.shape[1])).sum()
    games: list[list[str]] = []
    opening = _most_informative(table, np.arange(len(answers))) if entropy else -1
    for secret in secrets:
        target, left, played = place[secret], np.arange(len(answers)), []
        for number in range(guesses):
            if entropy:
                guess = opening if number == 0 else _most_informative(table, left)
            elif rng.random() < consistent:
                guess = int(left[rng.integers(len(left))])
            else:
                guess = int(rng.integers(len(answers)))
            played.append(answers[guess])
            marks = table[guess, target]
            if marks == won:
                break
            left = left[table[guess, left] == marks]
        games.append(played)
    return games


def _most_informative(table: NDArray[np.uint8], left: NDArray[np.int64]) -> int:
    """Return the guess whose marks have the largest entropy over the secrets that are left."""
    if len(left) <= 2:
        return int(left[0])
    marks = table[:, left].astype(np.int64) + 243 * np.arange(len(table))[:, None]
    counts = np.bincount(marks.ravel(), minlength=243 * len(table)).reshape(len(table), 243)
    share = counts / len(left)
    information = -(share * np.log(np.where(share > 0, share, 1.0))).sum(axis=1)
    information[left] += 1e-9  # of equally good guesses, one that may be right
    return int(information.argmax())
