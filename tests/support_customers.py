"""A small corpus of utterances, and a classifier of its sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seqel.tasks.customers.utterances import SPLITS, Utterances

__all__ = ["classify", "corpus"]

INTENTS = ("balance", "card lost", "card broken", "transfer")
WORDS = {"balance": "money", "card lost": "card gone", "card broken": "card cracked", "transfer": "send money"}


def corpus() -> Utterances:
    """Make four intents with twenty sentences per split, and sentences that belong to none."""
    said = {
        split: [(f"{WORDS[intent]} {split} {number}", intent) for intent in INTENTS for number in range(20)]
        for split in SPLITS
    }
    return Utterances.of(said, {split: [f"weather {split} {number}" for number in range(5)] for split in SPLITS})


def classify(sentences: Sequence[str]) -> NDArray[np.float64]:
    """Return log-probabilities: 0.9 for one intent, which is another one than the right one for a tenth of the sentences."""
    names = sorted(INTENTS)
    found = np.full((len(sentences), len(names) + 1), 0.1 / len(names))
    for row, sentence in enumerate(sentences):
        what, _, number = sentence.rsplit(" ", 2)
        right = (
            names.index(next(name for name in names if WORDS[name] == what)) if what in WORDS.values() else len(names)
        )
        found[row, (right + 2) % len(names) if int(number) % 10 == 3 else right] = 0.9
    return np.log(found)
