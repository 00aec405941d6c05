"""The display of a running training, in a terminal and elsewhere."""

from __future__ import annotations

import dataclasses
import io
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from seqel.evaluation.rollout import summarise
from seqel.runs.display import Progress
from seqel.runs.progress_bar import counting
from seqel.terminal import duration, percent, sparkline, summary_line
from seqel.training.config import preset
from seqel.training.record import Best, Record

CONFIG = preset(env="Some-v0", steps=1_000)


def record(steps: int, mean: float | None = None, notes: tuple[str, ...] = ()) -> Record:
    validation = None if mean is None else summarise([mean, mean], [5, 5], [1.0, 0.0], 0)
    metrics = {"return": 0.25, "success": 0.125, "q": 0.5, "loss": 0.0625}
    return Record(steps, 2.0, 7, 50.0, metrics, validation, notes=notes)


def test_small_shares_are_not_zero() -> None:
    assert [percent(share) for share in (0.0, 0.0007, 0.00999, 0.01, 0.125, 1.0)] == [
        "0%", "0.07%", "1.00%", "1%", "12%", "100%",
    ]  # fmt: skip


def test_plain_lines_go_to_standard_error_if_it_is_not_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(CONFIG, Path("runs/x"), best=0.9) as progress:
        progress.take(record(400, mean=0.75, notes=("something [odd]",)))
    out, err = capsys.readouterr()
    assert out == ""
    assert "training on Some-v0, folder runs/x" in err and "note: something [odd]" in err
    line = err.splitlines()[-1]
    for fact in (
        "400 of 1,000",
        "0.250",
        "validation return 0.750 (best 0.900)",
        "success 50%",
        "Q 0.5",
        "loss 0.0625",
    ):
        assert fact in line
    assert "steps/s 50" in line and "at most 0:12 left" in line


def test_the_best_is_that_of_the_kept_weights_not_the_largest_mean() -> None:
    progress = Progress(CONFIG, Path("runs/x"), best=0.9)
    kept = Best(200, 3, summarise([0.5, 0.75], [5, 5], [1.0, 0.0], 0))
    progress.take(dataclasses.replace(record(400, mean=0.75), best=kept))
    assert "validation return 0.750 (best 0.625)" in progress.line()


def test_a_validation_before_the_first_step_shows_no_remaining_time() -> None:
    progress = Progress(CONFIG, Path("runs/x"))
    progress.take(dataclasses.replace(record(0, mean=0.75), steps_per_second=0.0))
    assert "left" not in progress.line() and "validation return 0.750" in progress.line()


def test_a_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    progress = Progress(CONFIG, Path("runs/x"))
    progress.console = Console(file=screen, force_terminal=True, width=100)
    with progress:
        progress.take(record(200, mean=0.1))
        progress.take(record(400, mean=0.3))
    shown = screen.getvalue()
    assert "validation return" in shown and "0.300 (best 0.300)" in shown and "▁█" in shown


def test_durations_and_sparklines() -> None:
    assert [duration(seconds) for seconds in (0, 90, 3_725)] == ["0:00", "1:30", "1:02:05"]
    assert sparkline([0, 1, 0.5]) == "▁█▅" and sparkline([2, 2]) == "▁▁"


def test_a_finished_curve_is_one_line_with_first_best_and_last_value() -> None:
    assert summary_line([0.0, 1.0, 0.5]) == "▁█▅  first 0, highest 1, last 0.5"
    assert summary_line([0.25, 0.5], share=True) == "▃▅  first 25%, highest 50%, last 50%"
    assert summary_line([3.0]) == "▁  first 3, highest 3, last 3" and summary_line([]) == ""
    long = summary_line([float(n) for n in range(1_000)], width=10)
    assert long == "▁▂▃▃▄▅▆▆▇█  first 0, highest 999, last 999"


def test_the_last_line_is_printed_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqel.runs.display.PLAIN_EVERY", 0.0)
    with Progress(CONFIG, Path("runs/x")) as progress:
        progress.take(record(400, mean=0.75))
    assert capsys.readouterr().err.count("400 of 1,000") == 1


def trainer(count: int, elapsed: float) -> Any:
    return SimpleNamespace(count=count, elapsed=elapsed)


def test_lines_between_two_records_do_not_delay_the_next_records_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("seqel.runs.display.time", SimpleNamespace(monotonic=lambda: clock[0]))
    with Progress(CONFIG, Path("runs/x"), offline=True) as progress:
        for steps in (100, 200, 300):
            for _ in range(11):
                clock[0] += 1.5
                progress.tick(trainer(steps, clock[0]))
            progress.take(record(steps, mean=0.75))
    lines = capsys.readouterr().err.splitlines()
    assert sum("validation return" in line for line in lines) == 3, "each record"
    assert sum(line.startswith("updates") and "validation" not in line for line in lines) >= 3


def test_a_fit_reports_its_progress_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seqel.runs.progress_bar.PLAIN_EVERY", 0.0)
    screen = io.StringIO()
    with counting(Console(file=screen, width=100), "fitting") as take:
        take(replace(record(400), progress=0.25))
    assert screen.getvalue().startswith("fitting: 25%, at most 0:0")
