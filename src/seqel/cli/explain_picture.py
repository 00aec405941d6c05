"""The strips of an explained decision as an image."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from seqel.explanation.report import Report

__all__ = ["draw_strips"]


def draw_strips(path: Path, report: Report, row: int, title: str) -> None:
    """Write a PNG with one strip per method over the steps before a decision.

    Raises:
        StorageError: it could not be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from seqel.explanation.methods.registry import method_of
    from seqel.storage import atomic_write

    count = len(report.methods)
    figure = Figure(figsize=(9, 1.2 + 1.1 * count), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    first = report.steps[0].number
    for axis, (name, found) in zip(axes, report.methods.items(), strict=True):
        weights, method = found[row, :row], method_of(name)
        colours = ["#2b7d5b" if not method.signed else "#2563c9" if one >= 0 else "#c2571a" for one in weights]
        axis.bar(range(first, first + row), abs(weights), width=0.9, color=colours)
        axis.axvline(first + row, color="#1b2228", linewidth=1.5)
        axis.set_title(method.title, loc="left", fontsize=9)
        axis.set_yticks([])
        axis.spines[["top", "right", "left"]].set_visible(False)
    axes[-1].set_xlabel("step; blue supports the choice, orange opposes it")
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    chosen = next(one.name for one in report.steps[row].scores if one.chosen)
    figure.suptitle(f"{title}: what the choice {chosen} at step {report.steps[row].number} depends on", fontsize=11)
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=130)
    atomic_write(path, data.getvalue())
