"""A strip that shows one block per step of an episode, as bright as a decision's weight on it; as text and as an image."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seqel.terminal import BARS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Strip", "picture", "text"]


@dataclass(frozen=True)
class Strip:
    """The weights of one decision on the steps up to its own, and the texts beside them."""

    weights: Sequence[float]  # (t+1,) the last one is the step of the decision
    step: int  # the step that the arrow points to
    pointed: str  # text about that step
    decision: str  # text about the decision


def text(strip: Strip, width: int) -> Any:
    """Return two lines for a terminal of `width` columns: blocks, and an arrow. Long episodes share blocks."""
    from rich.text import Text

    ending = f" → {strip.decision}"
    group = -(-len(strip.weights) // max(8, width - 4 - len(ending)))  # steps per block
    weights = past(strip)
    blocks = [max(weights[at : at + group]) for at in range(0, len(weights), group)]
    top = max(blocks) or 1.0
    out = Text("  ", no_wrap=True)
    for weight in blocks:
        level = weight / top
        grey = round(60 + 195 * level)
        colour = f"bold rgb(255,{round(190 + 40 * level)},60)" if level > 0.5 else f"rgb({grey},{grey},{grey})"
        out.append(BARS[round(level * (len(BARS) - 1))], style=colour)
    out.append(ending, style="bold")
    at = strip.step // group
    fits = at + 2 + len(strip.pointed) <= width - 4
    before = " " * at if fits else strip.pointed.rjust(max(0, at - 1)) + " "
    out.append(f"\n  {before}↑{' ' + strip.pointed if fits else ''}")
    return out


def past(strip: Strip) -> list[float]:
    """Return the weights with the decision's own step set to 0: it is not memory, and would outshine the past steps."""
    return [*strip.weights[:-1], 0.0]


def picture(
    path: Path,
    title: str,
    curves: dict[str, list[tuple[int, float]]],
    strip: Strip,
    caption: str,
    ylabel: str = "success",
) -> None:
    """Write a PNG with the learning curves above and the strip below.

    Raises:
        StorageError: it could not be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from seqel.storage import atomic_write

    figure = Figure(figsize=(9, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, height_ratios=[4, 1])
    for (name, points), colour in zip(curves.items(), ("#0891b2", "#c026d3"), strict=False):
        steps, values = zip(*points, strict=True) if points else ((), ())
        upper.plot(steps, values, label=name, color=colour, linewidth=2)
    upper.set(title=title, xlabel="environment steps", ylabel=ylabel, ylim=(-0.03, 1.03))
    upper.grid(alpha=0.25)
    upper.legend(loc="best", frameon=False)
    lower.imshow([past(strip)], aspect="auto", cmap="inferno", vmin=0.0)
    lower.set(yticks=[], xlabel=caption)
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    last = len(strip.weights) - 1
    for at, words, side in ((strip.step, strip.pointed, "left"), (last, strip.decision, "right")):
        lower.annotate(
            words, (at, -0.5), (at, -1.0), ha=side, va="bottom", annotation_clip=False, arrowprops={"arrowstyle": "->"}
        )
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=130)
    atomic_write(path, data.getvalue())
