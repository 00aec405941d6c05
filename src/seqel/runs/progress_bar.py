"""Progress of work that is not a run of its own: a bar in a terminal, otherwise a line from time to time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from seqel.terminal import PLAIN_EVERY, duration

if TYPE_CHECKING:
    from rich.console import Console

    from seqel.training.record import Record

__all__ = ["counting", "sharing"]


@contextmanager
def counting(console: Console, what: str) -> Iterator[Callable[[Record], None]]:
    """Yield a function that takes each record of a fit."""
    with sharing(console, what) as tell:
        yield lambda record: tell(record.progress, f"{record.updates:,} updates")


@contextmanager
def sharing(console: Console, what: str) -> Iterator[Callable[[float, str], None]]:
    """Yield a function that takes the share that is done, from 0 to 1, and a note."""
    if not console.is_terminal:
        yield _lines(console, what)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=1.0, note="")
        yield lambda share, note: progress.update(task, completed=share, note=note)


def _lines(console: Console, what: str) -> Callable[[float, str], None]:
    begun = said = time.monotonic()

    def tell(share: float, note: str) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= PLAIN_EVERY:
            said = now
            left = duration((now - begun) * (1.0 - share) / max(share, 1e-9))
            console.print(f"{what}: {share:.0%}, at most {left} left", markup=False, soft_wrap=True)

    return tell
