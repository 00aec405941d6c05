"""Opinion monitoring as a task: sentences with sentiments, streams with crises, the environment, detectors and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.tasks.opinion.monitoring import Costs, OpinionMonitoring
    from seqel.tasks.opinion.sentences import Opinions, read_opinions
    from seqel.tasks.opinion.stream import TEXTBOOK, Setting, Stream, draw_stream

__all__ = ["TEXTBOOK", "Costs", "OpinionMonitoring", "Opinions", "Setting", "Stream", "draw_stream", "read_opinions"]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "TEXTBOOK": "seqel.tasks.opinion.stream",
        "Costs": "seqel.tasks.opinion.monitoring",
        "OpinionMonitoring": "seqel.tasks.opinion.monitoring",
        "Opinions": "seqel.tasks.opinion.sentences",
        "Setting": "seqel.tasks.opinion.stream",
        "Stream": "seqel.tasks.opinion.stream",
        "draw_stream": "seqel.tasks.opinion.stream",
        "read_opinions": "seqel.tasks.opinion.sentences",
    },
)
