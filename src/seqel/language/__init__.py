"""Text generation by Q-learning: a language model, values of what it writes, and one number that turns it towards reward."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.language.generation import generate
    from seqel.language.processor import DialProcessor
    from seqel.language.reading import read_pairs, read_texts
    from seqel.language.training import train_text

__all__ = ["DialProcessor", "generate", "read_pairs", "read_texts", "train_text"]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "DialProcessor": "seqel.language.processor",
        "generate": "seqel.language.generation",
        "read_pairs": "seqel.language.reading",
        "read_texts": "seqel.language.reading",
        "train_text": "seqel.language.training",
    },
)
