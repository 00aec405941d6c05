"""Sentences about companies with their sentiment, in three splits that share no sentence.

Duplicates and near duplicates (the same words but for numbers, case and punctuation) are one group, and a group is in one
split: what a classifier has learned is then never what it is tested on.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqel.errors import DataError
from seqel.tasks.csv_files import read_columns
from seqel.tasks.splits import SPLITS, Split

__all__ = ["NEGATIVE", "NEUTRAL", "POSITIVE", "SENTIMENTS", "SPLITS", "Opinions", "Split", "read_opinions"]

SENTIMENTS = ("negative", "neutral", "positive")
NEGATIVE, NEUTRAL, POSITIVE = range(3)
# of the groups; a hash decides
VALIDATION, TEST = 0.15, 0.25


@dataclass(frozen=True)
class Opinions:
    """Sentences by split and sentiment. Raises DataError if a split has no sentence of some sentiment."""

    sentences: Mapping[Split, tuple[tuple[str, ...], ...]]  # one tuple of sentences per sentiment

    def __post_init__(self) -> None:
        for split in SPLITS:
            for name, some in zip(SENTIMENTS, self.sentences[split], strict=True):
                if not some:
                    every = [text for one in SPLITS for text in self.sentences[one][SENTIMENTS.index(name)]]
                    raise DataError(
                        f"opinions: expected {name} sentences in each split, got none in {split!r}: of {len(every):,} {name} "
                        f"sentences, {len({_words(text) for text in every}):,} differ in their words (numbers do not count), "
                        "and those with the same words share a split; add different ones"
                    )

    @classmethod
    def of(cls, rows: Iterable[tuple[str, str]]) -> Opinions:
        """Make the splits of (sentence, sentiment). Raises DataError if a sentiment is not known.

        A sentence that occurs twice counts once. If its sentiments differ, it is left out, because it is not known which is
        right.
        """
        of_text: dict[str, str | None] = {}
        for text, sentiment in rows:
            if sentiment not in SENTIMENTS:
                raise DataError(f"opinions: expected one of {', '.join(SENTIMENTS)}, got {sentiment!r:.80}")
            of_text[text] = sentiment if of_text.get(text, sentiment) == sentiment else None
        found: dict[Split, tuple[list[str], ...]] = {split: ([], [], []) for split in SPLITS}
        for text, known in of_text.items():
            if known is not None:
                found[_split_of(text)][SENTIMENTS.index(known)].append(text)
        return cls({split: tuple(tuple(some) for some in found[split]) for split in SPLITS})

    def labelled(self, split: Split) -> tuple[list[str], NDArray[np.int64]]:
        """Return all sentences of a split, and the number of each one's sentiment, (N,)."""
        some = self.sentences[split]
        return [text for one in some for text in one], np.repeat(np.arange(len(SENTIMENTS)), [len(one) for one in some])

    @cached_property
    def characters(self) -> frozenset[str]:
        """All characters that occur."""
        return frozenset(
            character for split in SPLITS for some in self.sentences[split] for text in some for character in text
        )


def read_opinions(path: str | Path, encoding: str = "utf-8") -> Opinions:
    """Read a CSV file with the columns `result` (a sentiment) and `content`, as the Financial PhraseBank is published.

    Source of the PhraseBank: Malo et al. 2014, arXiv:1307.5336; its file is in the encoding "latin-1".

    Raises DataError if the file cannot be read, or a sentiment is not known.
    """
    rows = [(row["content"], row["result"]) for row in read_columns(path, ("result", "content"), encoding)]
    try:
        return Opinions.of(rows)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _split_of(text: str) -> Split:
    share = zlib.crc32(_words(text).encode()) / 2**32
    return "validation" if share < VALIDATION else "test" if share < VALIDATION + TEST else "train"


def _words(text: str) -> str:
    """Return what near duplicates have in common: the words without numbers, case and punctuation."""
    return " ".join(re.findall(r"[^\W\d_]+", text.lower()))
