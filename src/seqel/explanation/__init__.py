"""Explanations: which past steps a decision depends on, and how far to trust an attribution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.explanation.attention import AttentionPeak, attention, strongest_head
    from seqel.explanation.attribute import attribute
    from seqel.explanation.counterfactual import counterfactual
    from seqel.explanation.counterfactual_search import Counterfactual, search_counterfactuals
    from seqel.explanation.faithfulness import Faithfulness, faithfulness, rank_of, separation
    from seqel.explanation.methods.registry import method_names
    from seqel.explanation.occlusion import occlusion
    from seqel.explanation.page import report_page
    from seqel.explanation.question import Question
    from seqel.explanation.recorded import find_session, trace_session
    from seqel.explanation.rendering import RenderedEpisode, render_episode
    from seqel.explanation.report import Report, explain_episode
    from seqel.explanation.trace import EpisodeTrace, decision_scores, record_episode
    from seqel.explanation.weight_randomisation import randomise_weights
    from seqel.explanation.words import WordInfluence, word_occlusion

__all__ = [
    "AttentionPeak",
    "Counterfactual",
    "EpisodeTrace",
    "Faithfulness",
    "Question",
    "RenderedEpisode",
    "Report",
    "WordInfluence",
    "attention",
    "attribute",
    "counterfactual",
    "decision_scores",
    "explain_episode",
    "faithfulness",
    "find_session",
    "method_names",
    "occlusion",
    "randomise_weights",
    "rank_of",
    "record_episode",
    "render_episode",
    "report_page",
    "search_counterfactuals",
    "separation",
    "strongest_head",
    "trace_session",
    "word_occlusion",
]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "AttentionPeak": "seqel.explanation.attention",
        "Counterfactual": "seqel.explanation.counterfactual_search",
        "EpisodeTrace": "seqel.explanation.trace",
        "Faithfulness": "seqel.explanation.faithfulness",
        "Question": "seqel.explanation.question",
        "RenderedEpisode": "seqel.explanation.rendering",
        "Report": "seqel.explanation.report",
        "WordInfluence": "seqel.explanation.words",
        "attention": "seqel.explanation.attention",
        "attribute": "seqel.explanation.attribute",
        "counterfactual": "seqel.explanation.counterfactual",
        "decision_scores": "seqel.explanation.trace",
        "explain_episode": "seqel.explanation.report",
        "faithfulness": "seqel.explanation.faithfulness",
        "find_session": "seqel.explanation.recorded",
        "method_names": "seqel.explanation.methods.registry",
        "occlusion": "seqel.explanation.occlusion",
        "randomise_weights": "seqel.explanation.weight_randomisation",
        "rank_of": "seqel.explanation.faithfulness",
        "record_episode": "seqel.explanation.trace",
        "render_episode": "seqel.explanation.rendering",
        "report_page": "seqel.explanation.page",
        "search_counterfactuals": "seqel.explanation.counterfactual_search",
        "separation": "seqel.explanation.faithfulness",
        "strongest_head": "seqel.explanation.attention",
        "trace_session": "seqel.explanation.recorded",
        "word_occlusion": "seqel.explanation.words",
    },
)
