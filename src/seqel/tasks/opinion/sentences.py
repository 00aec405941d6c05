"""Sentences about companies with their sentiment, in three splits that share no sentence.

Duplicates and near duplicates (the same words but for numbers, case and punctuation) are one group, and a group is in one
split: what a classifier has learned is then never what it is tested on.
"""

from __future__ import annotations

import csv
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqel.errors import DataError
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
                    raise DataError(f"opinions: expected a {name} sentence in each split, got none in {split!r}")

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
    path = Path(path)
    try:
        with path.open(encoding=encoding, newline="") as file:
            rows = [(row["content"].strip(), row["result"].strip()) for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, KeyError, AttributeError, csv.Error) as error:
        raise DataError(f"{path}: expected a CSV file with the columns result and content, but {error!r}") from error
    return Opinions.of(rows)


def _split_of(text: str) -> Split:
    words = re.findall(r"[^\W\d_]+", text.lower())
    share = zlib.crc32(" ".join(words).encode()) / 2**32
    return "validation" if share < VALIDATION else "test" if share < VALIDATION + TEST else "train"
