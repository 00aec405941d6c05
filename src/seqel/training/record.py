"""One line of a run's history, as both trainers yield it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from seqel.evaluation.rollout import Evaluation
from seqel.training.held_out import HeldOut

__all__ = ["Best", "Record", "Validation", "count", "next_multiple"]

Validation = Evaluation | HeldOut  # greedy episodes, or scores on held-out episodes


@dataclass(frozen=True, slots=True)
class Best:
    """What is known about the kept weights: when the run reached them, and all validation episodes that they have played."""

    steps: int
    updates: int
    evaluation: Evaluation

    def as_json(self) -> dict[str, Any]:
        """Return the figures as metrics.jsonl and a saved agent hold them."""
        found = self.evaluation
        figures = {"steps": self.steps, "updates": self.updates, "mean": found.mean, "success": found.success}
        return figures | found.evidence()


@dataclass(frozen=True, slots=True)
class Record:
    """What happened since the last record."""

    steps: int  # environment steps so far; 0 where there is no environment
    seconds: float  # seconds of training so far, including those before a resume
    updates: int  # so far
    steps_per_second: float = 0.0  # since the last record, including validation
    metrics: dict[str, float] = field(default_factory=dict)  # means since the last record; see runs/metrics.py
    validation: Validation | None = None
    accepted: bool = False  # the validated weights are the best so far
    best: Best | None = None  # the best weights so far, if there was a validation; None on recorded data
    reassessed: bool = False  # the best weights have played further episodes, so their figures have changed
    solved: bool = False  # the run may end: the threshold is confirmed, or held-out episodes stopped improving
    progress: float = 0.0  # fraction of the run that is over
    notes: tuple[str, ...] = ()  # messages for the user, for instance about episodes that a resume lost

    @property
    def count(self) -> int:
        """How far the run is: in environment steps, or in updates if there is no environment."""
        return count(self.steps, self.updates)


def count(steps: int, updates: int) -> int:
    """What a run counts by: environment steps, or updates where there are none. An online run has no update before a step."""
    return steps or updates


def next_multiple(steps: int, every: int) -> int:
    """Return the first multiple of `every` that is larger than `steps`."""
    return (steps // every + 1) * every
