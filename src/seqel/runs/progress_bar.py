"""Progress of a fit that is not a run of its own: a bar in a terminal, otherwise a line from time to time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from seqel.terminal import PLAIN_EVERY, duration

if TYPE_CHECKING:
    from rich.console import Console

    from seqel.training.record import Record

__all__ = ["counting"]


@contextmanager
def counting(console: Console, what: str) -> Iterator[Callable[[Record], None]]:
    """Yield a function that takes each record."""
    if not console.is_terminal:
        yield _lines(console, what)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=1.0, note="")

        def take(record: Record) -> None:
            progress.update(task, completed=record.progress, note=f"{record.updates:,} updates")

        yield take


def _lines(console: Console, what: str) -> Callable[[Record], None]:
    begun = said = time.monotonic()

    def take(record: Record) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= PLAIN_EVERY:
            said = now
            left = duration((now - begun) * (1.0 - record.progress) / max(record.progress, 1e-9))
            console.print(f"{what}: {record.progress:.0%}, at most {left} left", markup=False, soft_wrap=True)

    return take
