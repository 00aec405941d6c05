"""Text generation by Q-learning: a language model, values of its texts, and a dial that says how strongly reward counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.language.blocking import BlockedPhrases, penalised, read_phrases
    from seqel.language.generation import generate
    from seqel.language.processor import DialProcessor
    from seqel.language.reading import read_pairs, read_texts
    from seqel.language.training import train_text

__all__ = [
    "BlockedPhrases",
    "DialProcessor",
    "generate",
    "penalised",
    "read_pairs",
    "read_phrases",
    "read_texts",
    "train_text",
]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "BlockedPhrases": "seqel.language.blocking",
        "DialProcessor": "seqel.language.processor",
        "generate": "seqel.language.generation",
        "penalised": "seqel.language.blocking",
        "read_phrases": "seqel.language.blocking",
        "read_pairs": "seqel.language.reading",
        "read_texts": "seqel.language.reading",
        "train_text": "seqel.language.training",
    },
)
