"""One line of a run's history, as both trainers yield it."""

from __future__ import annotations

from dataclasses import dataclass, field

from seqel.evaluation.rollout import Evaluation
from seqel.training.held_out import HeldOut

__all__ = ["Record", "Validation", "count", "next_multiple"]

Validation = Evaluation | HeldOut  # greedy episodes, or scores on held-out episodes


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
    solved: bool = False  # the run may end: the threshold is confirmed, or held-out episodes stopped improving
    progress: float = 0.0  # fraction of the run that is over
    notes: tuple[str, ...] = ()  # messages for the user, for instance about episodes that a resume lost

    @property
    def count(self) -> int:
        """How far the run is, in the unit that it counts in: environment steps, or updates where there is no environment."""
        return count(self.steps, self.updates)


def count(steps: int, updates: int) -> int:
    """What a run counts by: environment steps, or updates where there are none. An online run has no update before a step."""
    return steps or updates


def next_multiple(steps: int, every: int) -> int:
    """Return the first multiple of `every` that is larger than `steps`."""
    return (steps // every + 1) * every
