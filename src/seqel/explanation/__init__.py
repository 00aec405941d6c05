"""Explanations: which past steps a decision depends on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.explanation.attention import Focus, attention, strongest_head
    from seqel.explanation.counterfactual import counterfactual
    from seqel.explanation.occlusion import occlusion
    from seqel.explanation.trace import EpisodeTrace, decision_scores, record_episode

__all__ = [
    "EpisodeTrace",
    "Focus",
    "attention",
    "counterfactual",
    "decision_scores",
    "occlusion",
    "record_episode",
    "strongest_head",
]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "EpisodeTrace": "seqel.explanation.trace",
        "Focus": "seqel.explanation.attention",
        "attention": "seqel.explanation.attention",
        "counterfactual": "seqel.explanation.counterfactual",
        "decision_scores": "seqel.explanation.trace",
        "occlusion": "seqel.explanation.occlusion",
        "record_episode": "seqel.explanation.trace",
        "strongest_head": "seqel.explanation.attention",
    },
)
