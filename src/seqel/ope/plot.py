"""What policies would earn as a picture: each one's value with its 95 % interval, beside what was recorded."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from seqel.storage import atomic_write

if TYPE_CHECKING:
    from seqel.ope.estimation import OffPolicy

__all__ = ["draw_estimate"]

AGENT, OTHER, DOUBTFUL = "#1f6fb2", "#4a5568", "#b8c2cc"


def draw_estimate(found: OffPolicy, path: Path, title: str) -> None:
    """A PNG. The first policy is the agent; what the data do not support is pale, with its reason. Raises StorageError."""
    from matplotlib.figure import Figure  # no pyplot: nothing global, no window, no display needed

    first, *others = found.policies
    rows = [first, *sorted(others, key=lambda row: -row.value.value)]
    figure = Figure(figsize=(7.2, 0.32 * len(rows) + 1.6), layout="constrained")
    axis = figure.subplots()
    figure.suptitle(title)
    own = found.recorded.value
    axis.axvspan(own.low, own.high, color="#2e8b57", alpha=0.15, lw=0)
    axis.axvline(own.value, color="#2e8b57", lw=1, label="as recorded")
    for place, row in enumerate(rows):
        value = row.value
        colour = DOUBTFUL if not row.supported else AGENT if place == 0 else OTHER
        axis.plot([value.low, value.high], [place, place], color=colour, lw=1.6)
        axis.plot([value.value], [place], color=colour, marker="o", ms=5)
    names = [row.name if row.supported else f"{row.name} (?: {row.reason})" for row in rows]
    axis.set_yticks(range(len(rows)), names)
    axis.invert_yaxis()
    axis.set_xlabel(f"discounted reward of a session (discount {found.discount:g}), 95 % interval")
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=8, frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    atomic_write(path, picture.getvalue())
