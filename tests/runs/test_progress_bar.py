"""Progress of work that is not a run: lines from time to time where there is no terminal, and a bar where there is one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from seqel.runs.progress_bar import counting, sharing
from seqel.training.record import Record


def test_lines_say_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 1.0, 1e4, 1e4 + 1.0, 3e4])
    monkeypatch.setattr("seqel.runs.progress_bar.time.monotonic", lambda: next(times))
    written = io.StringIO()
    with sharing(Console(file=written), "writing texts") as tell:
        for share in (0.1, 0.5, 0.6, 0.75):
            tell(share, "note")
    lines = written.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines] == ["writing texts: 50%", "writing texts: 75%"]
    assert all("left" in line for line in lines)


def test_a_terminal_shows_a_bar_with_the_updates() -> None:
    written = io.StringIO()
    with counting(Console(file=written, force_terminal=True, width=80), "fitting") as take:
        take(Record(0, 1.0, 1_200, progress=0.5))
    assert "fitting" in written.getvalue() and "1,200 updates" in written.getvalue()
