"""Which past steps a decision rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.explanation.attention import (
        EpisodeTrace,
        Focus,
        attention,
        counterfactual,
        occlusion,
        q_values,
        record_episode,
        strongest_head,
    )

__all__ = [
    "EpisodeTrace",
    "Focus",
    "attention",
    "counterfactual",
    "occlusion",
    "q_values",
    "record_episode",
    "strongest_head",
]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "EpisodeTrace": "seqel.explanation.attention",
        "Focus": "seqel.explanation.attention",
        "attention": "seqel.explanation.attention",
        "counterfactual": "seqel.explanation.attention",
        "occlusion": "seqel.explanation.attention",
        "q_values": "seqel.explanation.attention",
        "record_episode": "seqel.explanation.attention",
        "strongest_head": "seqel.explanation.attention",
    },
)
