"""Wordle as a task: its words, its marks and what follows from them, the environment, scripted players."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.tasks.wordle.game import Mask, Observe, Wordle
    from seqel.tasks.wordle.marks import feedback, feedback_table
    from seqel.tasks.wordle.players import play_games
    from seqel.tasks.wordle.words import Secrets, codes_of, split_secrets, word_list

__all__ = [
    "Mask", "Observe", "Secrets", "Wordle", "codes_of", "feedback", "feedback_table", "play_games", "split_secrets",
    "word_list",
]  # fmt: skip

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Mask": "seqel.tasks.wordle.game",
        "Observe": "seqel.tasks.wordle.game",
        "Wordle": "seqel.tasks.wordle.game",
        "feedback": "seqel.tasks.wordle.marks",
        "feedback_table": "seqel.tasks.wordle.marks",
        "play_games": "seqel.tasks.wordle.players",
        "Secrets": "seqel.tasks.wordle.words",
        "codes_of": "seqel.tasks.wordle.words",
        "split_secrets": "seqel.tasks.wordle.words",
        "word_list": "seqel.tasks.wordle.words",
    },
)
