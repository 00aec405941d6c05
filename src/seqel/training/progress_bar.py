"""A bar over the updates of a fit that belongs to no run of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from seqel.training.online import Record

__all__ = ["counting"]


@contextmanager
def counting(console: Console, what: str) -> Iterator[Callable[[Record], None]]:
    """A function to give each record to."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=1.0, note="")

        def take(record: Record) -> None:
            progress.update(task, completed=record.done, note=f"{record.updates:,} updates")

        yield take
