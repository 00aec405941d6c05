"""Progress of a run on standard error: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from seqel.terminal import PLAIN_EVERY, below_here, duration, sparkline
from seqel.training.config import RunConfig
from seqel.training.held_out import HeldOut
from seqel.training.record import Record

if TYPE_CHECKING:
    from seqel.training.trainer import Trainer

__all__ = ["PLAIN_EVERY", "Progress", "duration"]


class Progress:
    """A consumer of records that displays them."""

    def __init__(self, config: RunConfig, folder: Path, best: float | None = None, offline: bool = False) -> None:
        from rich.console import Console

        self.config, self.folder = config, folder
        self.offline = offline
        self.total = config.offline.updates if offline else config.steps
        self.console = Console(stderr=True, highlight=False)
        self.record: Record | None = None
        self.curve: deque[float] = deque(maxlen=40)  # validation means
        self.best = best  # best validation mean, including parts of the run before a resume
        self.speed = 0.0
        self.count = 0  # so far in the run's unit, from the ticks
        self._first: tuple[float, int] | None = None  # time and update of the first tick
        self._last_line = self._last_record_line = time.monotonic()
        self._printed: Record | None = None  # the last record for which a line was printed
        self._live: Any = None

    def __enter__(self) -> Progress:
        self.console.print(f"training on {self._what()}, folder {below_here(self.folder)}", markup=False)
        if self.console.is_terminal:
            from rich.live import Live

            self._live = Live(console=self.console, refresh_per_second=4, get_renderable=self._table)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        elif self.record is not self._printed:
            self.console.print(self.line(), markup=False, soft_wrap=True)

    def _what(self) -> str:
        files = self.config.offline.files
        return self.config.env or (", ".join(files) if files else "data in memory")

    def take(self, record: Record) -> None:
        """Show one record."""
        self.speed = record.steps_per_second
        self.record = record
        if record.validation is not None:
            self.curve.append(record.validation.mean)
            largest = max(self.curve[-1], self.best if self.best is not None else self.curve[-1])
            self.best = largest if record.best is None else record.best.evaluation.mean
        for note in record.notes:
            self.console.print(f"note: {note}", markup=False)
        now = time.monotonic()  # lines of `tick` do not delay a record's line
        if self._live is None and now - self._last_record_line >= PLAIN_EVERY:
            self._last_line = self._last_record_line = now
            self._printed = record
            self.console.print(self.line(), markup=False, soft_wrap=True)

    def tick(self, trainer: Trainer) -> None:
        """Show progress between two records, which may be minutes apart."""
        self.count = trainer.count
        now = time.monotonic()
        if self._first is None:
            self._first = now, trainer.count
        if self._live is None and now - self._last_line >= PLAIN_EVERY:
            self._last_line = now
            begun, before = self._first
            line = f"updates {trainer.count:,} of {self.total:,}  time {duration(trainer.elapsed)}"
            if trainer.count > before:
                left = (self.total - trainer.count) * (now - begun) / (trainer.count - before)
                line += f", at most {duration(left)} left"
            self.console.print(line, markup=False, soft_wrap=True)

    def facts(self) -> dict[str, str]:
        """Return the known figures as text."""
        record = self.record
        if record is None:
            if not self.offline:
                return {"": "collecting the first experience"}
            return {"updates": f"{self.count:,} of {self.total:,}", "": "no validation yet"}
        if self.offline:
            found = {"updates": f"{max(record.updates, self.count):,} of {self.total:,}"}
        else:
            found = {"steps": f"{record.steps:,} of {self.total:,}", "updates": f"{record.updates:,}"}
        if "return" in record.metrics:
            found["training return"] = f"{record.metrics['return']:.3f}"
        scores = record.validation
        if isinstance(scores, HeldOut):
            found[scores.title] = scores.describe(self.best)
            found["agreement"] = f"{scores.agreement:.0%}"
        elif self.curve:
            found["validation return"] = f"{self.curve[-1]:.3f} (best {self.best:.3f})"
        success = scores.success if scores is not None and scores.success is not None else record.metrics.get("success")
        if success is not None:
            found["success"] = f"{success:.0%}"
        for name, label in (("q", "Q"), ("loss", "loss")):
            if name in record.metrics:
                found[label] = f"{record.metrics[name]:.4g}"
        found["updates/s" if self.offline else "steps/s"] = f"{self.speed:,.0f}"
        found["time"] = duration(record.seconds)
        if self.speed > 0.0:  # a validation before the first step has none
            found["time"] += f", at most {duration((self.total - record.count) / self.speed)} left"
        return found

    def line(self) -> str:
        """Return the facts in one line."""
        return "  ".join(f"{name} {value}".strip() for name, value in self.facts().items())

    def _table(self) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        done = max(self.count, 0 if self.record is None else self.record.count)
        table.add_row("", ProgressBar(total=self.total, completed=done, width=40))
        for name, value in self.facts().items():
            table.add_row(f"[dim]{name}[/]", value)
        if len(self.curve) > 1:
            table.add_row("[dim]validation[/]", f"[cyan]{sparkline(list(self.curve))}[/]")
        return table
