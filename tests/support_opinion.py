"""Sentences about companies that tests use, whose sentiment their first word tells."""

from __future__ import annotations

from seqel.tasks.opinion.sentences import SENTIMENTS, Opinions

NAMES = [
    "Acme",
    "Bolt",
    "Cedar",
    "Delta",
    "Ember",
    "Flint",
    "Grove",
    "Haven",
    "Iris",
    "Jade",
    "Kite",
    "Lumen",
    "Maple",
    "Nova",
]
WORDS = {"negative": "Losses", "neutral": "Meetings", "positive": "Profits"}


def opinions() -> Opinions:
    return Opinions.of(
        (f"{WORDS[one]} {verb} at {name}", one) for one in SENTIMENTS for verb in ("grow", "stay") for name in NAMES
    )
