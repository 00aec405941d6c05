"""What an experiment tracker is: something that receives a run's records and its summary."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from seqel.training.config import RunConfig
from seqel.training.record import Record

__all__ = ["Tracker", "scalars"]


@runtime_checkable
class Tracker(Protocol):
    """Any object with these three methods. What one of them raises becomes a warning and never ends the run."""

    def start(self, config: RunConfig, folder: Path) -> None:
        """The run begins, or continues: `config` is resolved, `folder` is the run's own and exists."""

    def log(self, record: Record) -> None:
        """One more record; `record.count` is its place, and after a resume it may be smaller than the last one."""

    def finish(self, summary: dict[str, Any] | None) -> None:
        """The run ended. summary: what summary.json holds; None where the run was interrupted or failed."""


def scalars(record: Record) -> dict[str, float]:
    """A record's numbers under the names that trackers show; what is missing or not finite is left out."""
    found: dict[str, float | None] = {f"train/{name}": value for name, value in record.metrics.items()}
    if record.validation is not None:
        found |= record.validation.scalars()
    if record.best is not None:
        found["validation/best_return"] = record.best.evaluation.mean
    found["train/steps"] = record.steps
    found["train/updates"] = record.updates
    found["train/seconds"] = record.seconds
    found["train/steps_per_second"] = record.steps_per_second
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}
