"""Greedy episodes on fresh seeds, and the statistics of their returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.evaluation.rollout import Evaluation, evaluate
    from seqel.evaluation.statistics import bootstrap_interval, first_reached, interquartile_mean, success_interval

__all__ = [
    "Evaluation",
    "bootstrap_interval",
    "evaluate",
    "first_reached",
    "interquartile_mean",
    "success_interval",
]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Evaluation": "seqel.evaluation.rollout",
        "bootstrap_interval": "seqel.evaluation.statistics",
        "evaluate": "seqel.evaluation.rollout",
        "first_reached": "seqel.evaluation.statistics",
        "interquartile_mean": "seqel.evaluation.statistics",
        "success_interval": "seqel.evaluation.statistics",
    },
)
