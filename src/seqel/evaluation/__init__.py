"""Greedy episodes on fresh seeds, and the statistics of their returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.evaluation.abstaining import calibrate_agent, played_sessions, recorded_sessions
    from seqel.evaluation.rollout import Evaluation, evaluate
    from seqel.evaluation.statistics import bootstrap_interval, first_reached, interquartile_mean, success_interval

__all__ = [
    "Evaluation",
    "bootstrap_interval",
    "calibrate_agent",
    "evaluate",
    "first_reached",
    "interquartile_mean",
    "played_sessions",
    "recorded_sessions",
    "success_interval",
]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Evaluation": "seqel.evaluation.rollout",
        "bootstrap_interval": "seqel.evaluation.statistics",
        "calibrate_agent": "seqel.evaluation.abstaining",
        "evaluate": "seqel.evaluation.rollout",
        "first_reached": "seqel.evaluation.statistics",
        "interquartile_mean": "seqel.evaluation.statistics",
        "played_sessions": "seqel.evaluation.abstaining",
        "recorded_sessions": "seqel.evaluation.abstaining",
        "success_interval": "seqel.evaluation.statistics",
    },
)
