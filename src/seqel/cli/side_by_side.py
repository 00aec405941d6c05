"""A live display of an agent and a memoryless agent: one updating line for each."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from seqel.terminal import PLAIN_EVERY, sparkline

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console

    from seqel.training.record import Record

__all__ = ["WITH", "WITHOUT", "Racer", "SideBySide", "as_message"]

WITH, WITHOUT = "with history", "without history"


def as_message(record: Record) -> dict[str, Any]:
    """Convert a record to the message that a child process sends."""
    validation = record.validation
    return {
        "steps": record.steps,
        "seconds": record.seconds,
        "updates": record.updates,
        "return": record.metrics.get("return"),
        "loss": record.metrics.get("loss"),
        "validation": None if validation is None else validation.mean,
        "success": None if validation is None else validation.success,
        "solved": record.solved,
    }


@dataclass
class Racer:
    """The latest known state of one of the two."""

    name: str
    style: str
    steps: int = 0
    seconds: float = 0.0
    training_return: float | None = None
    success: float | None = None
    validation: float | None = None
    solved: bool = False
    state: str = "starting"
    history: list[tuple[int, float]] = field(default_factory=list)  # (steps, success or mean return) at each validation

    def take(self, what: dict[str, Any]) -> None:
        """Update the state from a message of its process."""
        self.state = "learning"
        self.steps, self.seconds = what["steps"], what["seconds"]
        self.training_return = what["return"]
        self.solved |= what["solved"]
        if what["validation"] is not None:
            self.validation, self.success = what["validation"], what["success"]
            self.history.append((self.steps, self.success if self.success is not None else what["validation"]))


class SideBySide:
    """Shows both on standard error: live in a terminal, otherwise a line from time to time."""

    def __init__(self, console: Console, title: str) -> None:
        from rich.live import Live

        self.console, self.title = console, title
        self.racers = {WITH: Racer(WITH, "bold cyan"), WITHOUT: Racer(WITHOUT, "bold magenta")}
        self.live = (
            Live(console=console, refresh_per_second=5, get_renderable=self._table) if console.is_terminal else None
        )
        self._last = time.monotonic()

    def __enter__(self) -> SideBySide:
        if self.live is not None:
            self.live.start()
        else:
            self.console.print(self.title, markup=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live is not None:
            self.live.stop()
        else:
            self._lines()

    def take(self, name: str, what: dict[str, Any] | None) -> None:
        """Handle a message from one of the two; None: it has ended."""
        if what is None:
            self.racers[name].state = "done"
        else:
            self.racers[name].take(what)
        if self.live is None and time.monotonic() - self._last >= PLAIN_EVERY:
            self._lines()

    def _lines(self) -> None:
        self._last = time.monotonic()
        for racer in self.racers.values():
            self.console.print(
                f"  {racer.name:<16}{racer.steps:>9,} steps {racer.seconds:6.0f} s   {_value(racer):<6} {_ended(racer)}",
                markup=False,
            )

    def _table(self) -> Any:
        from rich.table import Table

        known = any(racer.success is not None for racer in self.racers.values())
        table = Table(box=None, title=self.title, title_justify="left", title_style="bold", padding=(0, 2, 0, 0))
        for column, justify in (("", "left"), ("success" if known else "return", "right"), ("", "left")):
            table.add_column(column, justify=justify)  # type: ignore[arg-type]
        for column in ("steps", "seconds", ""):
            table.add_column(column, justify="right")
        for racer in self.racers.values():
            mark = "[green]solved[/]" if racer.solved else f"[dim]{racer.state}[/]"
            table.add_row(
                f"[{racer.style}]{racer.name}[/]",
                _value(racer),
                f"[{racer.style}]{sparkline([value for _, value in racer.history][-24:], known):<24}[/]",
                f"{racer.steps:,}",
                f"{racer.seconds:.0f}",
                mark,
            )
        return table


def _ended(racer: Racer) -> str:
    return "solved" if racer.solved else "done" if racer.state == "done" else ""


def _value(racer: Racer) -> str:
    if racer.success is not None:
        return f"{racer.success:.0%}"
    if racer.validation is not None:
        return f"{racer.validation:.3f}"
    return "-" if racer.training_return is None else f"{racer.training_return:.3f} in training"
