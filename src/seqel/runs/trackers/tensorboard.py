"""TensorBoard events in the run's folder. Importing the writer takes half a second, so it waits until a run starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seqel.runs.trackers.base import scalars
from seqel.training.config import RunConfig
from seqel.training.record import Record

__all__ = ["TensorBoardTracker"]


class TensorBoardTracker:
    """Shown by `tensorboard --logdir runs`. After a resume, events beyond the checkpoint are hidden."""

    def __init__(self) -> None:
        self._folder = Path()
        self._writer: Any = None

    def start(self, config: RunConfig, folder: Path) -> None:
        """Remember the folder; the file begins with the first record."""
        self._folder = folder

    def log(self, record: Record) -> None:
        """Write every number of the record at its count."""
        if self._writer is None:
            from torch.utils.tensorboard.writer import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=record.count)
        for name, value in scalars(record).items():
            self._writer.add_scalar(name, value, record.count)
        self._writer.flush()  # records are seconds apart, and a kill loses none

    def finish(self, summary: dict[str, Any] | None) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
