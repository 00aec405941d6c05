"""The learning curve is drawn at every stage of a run, without warnings."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqel.runs.plots import _best, _curve, draw_comparison, draw_curve

EARLY: dict[str, Any] = {"steps": 100, "loss": 0.0}  # a run that was stopped before any episode ended
LATER: dict[str, Any] = {
    "steps": 200, "return": 1.0, "success": 0.5, "q": 0.3, "target": 0.4, "loss": 0.1,
    "validation": {"mean": 0.9, "interval": [0.8, 1.0], "success": 0.9, "success_interval": [0.7, 1.0]},
}  # fmt: skip


WITH_BEST: dict[str, Any] = LATER | {"best": {"steps": 200, "updates": 9, "mean": 0.8, "success": None}}


@pytest.mark.parametrize("lines", [[EARLY], [EARLY, LATER], [LATER], [WITH_BEST]])
@pytest.mark.parametrize("threshold", [math.inf, 0.5])
def test_every_stage_of_a_run_gives_a_plot_without_a_warning(
    lines: list[dict[str, Any]], threshold: float, tmp_path: Path
) -> None:
    path = tmp_path / "curve.png"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_curve(lines, path, "a title", threshold)
    assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5_000


def test_a_run_that_ranks_items_shows_its_lists_and_no_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    seen: list[list[str]] = []
    save = Figure.savefig

    def spy(self: Figure, *arguments: Any, **options: Any) -> Any:
        seen.append([axis.get_ylabel() for axis in self.axes])
        assert np.asarray(self.axes[0].get_lines()[-1].get_ydata()).tolist() == [0.9]
        return save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", spy)
    scores = {"mean": -0.9, "metric": "ranking", "chance": 0.99, "agreement": 0.1, "imitation": 5.0}
    draw_curve(
        [{"steps": 0, "updates": 100, "loss": 6.0, "q": 0.0, "validation": scores}], tmp_path / "c.png", "a title"
    )
    assert seen == [["held out: list", "held out: error", "held out: action", "loss"]]


def test_the_best_weights_so_far_are_a_line_that_ends_in_the_kept_ones() -> None:
    from matplotlib.figure import Figure

    axis = Figure().subplots()
    lines = [WITH_BEST, WITH_BEST | {"steps": 300, "best": {"steps": 200, "updates": 9, "mean": 0.7, "success": 0.7}}]
    _best(axis, lines, "return")
    curve, star = axis.get_lines()
    assert np.asarray(curve.get_xydata()).tolist() == [[200.0, 0.8], [300.0, 0.7]]
    assert np.asarray(star.get_xydata()).tolist() == [[200.0, 0.7]], (
        "where they were reached, with all that is known now"
    )


def test_a_single_record_is_a_point() -> None:
    """A line through one point would not be seen; one through two needs no marks."""
    from matplotlib.figure import Figure

    for lines, seen in (([LATER], True), ([EARLY | {"loss": 0.2}, LATER], False)):
        axis = Figure().subplots()
        _curve(axis, lines, "loss", "red", "loss")
        assert (axis.get_lines()[0].get_marker() == "o") == seen


@pytest.mark.parametrize("runs", [([LATER], [LATER]), ([EARLY, LATER], [EARLY]), ([], [])])
def test_two_runs_share_one_plot_at_every_stage(
    runs: tuple[list[dict[str, Any]], list[dict[str, Any]]], tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_comparison({"with": runs[0], "without": runs[1]}, tmp_path / "both.png", "a title", 0.5)
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")
