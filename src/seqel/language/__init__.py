"""Text generation by Q-learning: a language model, values of what it writes, and one number that turns it towards reward."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.language.generation import generate
    from seqel.language.processor import DialProcessor
    from seqel.language.training import read_texts, train_text

__all__ = ["DialProcessor", "generate", "read_texts", "train_text"]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "DialProcessor": "seqel.language.processor",
        "generate": "seqel.language.generation",
        "read_texts": "seqel.language.training",
        "train_text": "seqel.language.training",
    },
)
