"""Draws the return against the strength of perturbations, one panel per kind."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

from seqel.storage import atomic_write

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from seqel.robustness.curve import Curve

__all__ = ["draw_curves"]

COLOUR = "#1f6fb2"


def draw_curves(curves: Sequence[Curve], path: Path, title: str) -> None:
    """Draw mean returns with 95 % intervals. Raises StorageError."""
    from matplotlib.figure import Figure  # no pyplot: nothing global, no window, no display needed

    columns = min(len(curves), 3)
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(3.6 * columns + 0.6, 2.7 * rows + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    figure.suptitle(title)
    for axis, curve in zip(axes, curves, strict=False):
        means = [one.mean for one in curve.evaluations]
        axis.plot(curve.strengths, means, color=COLOUR, lw=1.6, marker="o", ms=4)
        ends = [one.interval for one in curve.evaluations]
        if not any(math.isnan(end) for pair in ends for end in pair):
            axis.fill_between(curve.strengths, *zip(*ends, strict=True), color=COLOUR, alpha=0.15, lw=0)
        axis.set_title(f"{curve.kind}, area {curve.area:.3g}", fontsize=9)
        axis.set_xlabel(curve.unit if len(curve.unit) <= 40 else curve.unit.partition(",")[0], fontsize=8)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[len(curves) :]:
        axis.set_axis_off()
    for axis in axes[::columns]:
        axis.set_ylabel("mean return")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    atomic_write(path, buffer.getvalue())
