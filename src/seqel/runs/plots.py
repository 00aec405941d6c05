"""Draws the learning curve: returns, success, values and loss over environment steps; for a run on recorded data, the
scores on held-out episodes over updates."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

from seqel.storage import atomic_write

__all__ = ["draw_comparison", "draw_curve"]

TRAIN, VALIDATE, BEST = "#9aa5b1", "#1f6fb2", "#10344f"
SIDES = ("#1f6fb2", "#c2571a")  # colours of two runs in one plot
# held-out episodes: a panel's name -> what it shows
HELD_OUT = {
    "held out: error": [
        ("unexplained", "values: unexplained variance", VALIDATE),
        ("imitation", "recorded action, nats", "#2e8b57"),
    ],
    "held out: action": [("agreement", "agreement with the recorded action", VALIDATE)],
    "held out: return": [
        ("first_value", "expected from its own actions", VALIDATE),
        ("first_return", "earned by the recorded actions", TRAIN),
    ],
}
# of a run that ranks items, whose values are not trained
HELD_OUT_RANKING = {
    "held out: list": [("ranking", "1 - NDCG", VALIDATE)],
    "held out: error": [("imitation", "next item, nats", "#2e8b57")],
    "held out: action": [("agreement", "next item is the best", VALIDATE)],
}


def draw_curve(lines: list[dict[str, Any]], path: Path, title: str, threshold: float = math.inf) -> None:
    """Draw the records of metrics.jsonl. Raises StorageError."""
    from matplotlib.figure import Figure  # no pyplot: nothing global, no window, no display needed
    from matplotlib.ticker import LogFormatter

    validations = [line for line in lines if "validation" in line]
    known = any(line["validation"].get("success") is not None for line in validations)
    recorded = any("agreement" in line["validation"] for line in validations)
    played = ["return", *(["success"] if known else [])]
    ranks = recorded and validations[-1]["validation"].get("metric") == "ranking"
    held_out = HELD_OUT_RANKING if ranks else HELD_OUT
    panels = [*(held_out if recorded else played), *([] if ranks else ["q"]), "loss"]
    figure = Figure(figsize=(7.2, 2.1 * len(panels) + 0.6), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    figure.suptitle(title)
    for axis, panel in zip(axes, panels, strict=True):
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        if panel in ("return", "success"):
            _curve(axis, lines, panel, TRAIN, "training (exploring)")
            _validation(axis, validations, panel)
            _best(axis, validations, panel)
            if panel == "return" and math.isfinite(threshold):
                axis.axhline(threshold, color="#2e8b57", lw=1, ls=":", label=f"threshold {threshold:g}")
            axis.set_ylabel("mean return" if panel == "return" else "success")
            _legend(axis)
        elif panel in held_out:
            for name, label, colour in held_out[panel]:
                points = [(_place(line), _held_out(line["validation"], name)) for line in validations]
                points = [(step, value) for step, value in points if value is not None]
                if name == validations[-1]["validation"].get("metric"):
                    axis.axhline(
                        validations[-1]["validation"]["chance"], color=colour, lw=1, ls=":", label="chance level"
                    )
                if points:
                    axis.plot(*zip(*points, strict=True), color=colour, lw=1.6, marker="o", ms=3, label=label)
            axis.set_ylabel(panel)
            _legend(axis)
        elif panel == "q":
            _curve(axis, lines, "q", "#b2651f", "Q-value of the actions taken")
            _curve(axis, lines, "target", "#d9b38c", "target")
            axis.set_ylabel("Q")
            _legend(axis)
        else:
            _curve(axis, lines, "loss", "#7a4fa3", "loss")
            axis.set_ylabel("loss")
            if any(line.get("loss", 0.0) > 0 for line in lines):
                axis.set_yscale("log")
                axis.yaxis.set_major_formatter("{x:g}")
                axis.yaxis.set_minor_formatter(
                    LogFormatter(minor_thresholds=(2, 0.4))
                )  # within a decade: 1.6, not 1.6 * 10^0
    axes[-1].set_xlabel("updates" if recorded else "environment steps")
    _save(figure, axes, path)


def draw_comparison(runs: dict[str, list[dict[str, Any]]], path: Path, title: str, threshold: float = math.inf) -> None:
    """Draw two runs' validations on common axes. runs: name -> the records of its metrics.jsonl. Raises StorageError."""
    from matplotlib.figure import Figure

    validations = {name: [line for line in lines if "validation" in line] for name, lines in runs.items()}
    known = any(line["validation"].get("success") is not None for lines in validations.values() for line in lines)
    panels = ["return", *(["success"] if known else [])]
    figure = Figure(figsize=(7.2, 2.7 * len(panels) + 0.6), layout="constrained")
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    figure.suptitle(title)
    for axis, panel in zip(axes, panels, strict=True):
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        for (name, lines), colour in zip(validations.items(), SIDES, strict=True):
            _validation(axis, lines, panel, colour, name)
        if panel == "return" and math.isfinite(threshold):
            axis.axhline(threshold, color="#2e8b57", lw=1, ls=":", label=f"threshold {threshold:g}")
        if panel == "success":
            axis.set_ylim(-0.03, 1.03)
        axis.set_ylabel("mean return (greedy)" if panel == "return" else "success (greedy)")
    _legend(axes[0])
    axes[-1].set_xlabel("environment steps; shaded: 95 % intervals")
    _save(figure, axes, path)


def _held_out(validation: dict[str, Any], name: str) -> float | None:
    """Return one of the figures of a validation on held-out episodes; None if there is none."""
    value: float | None = -validation["mean"] if name == "ranking" else validation[name]
    return value


def _save(figure: Any, axes: Any, path: Path) -> None:
    axes[-1].xaxis.set_major_formatter("{x:,.0f}")
    figure.align_ylabels(axes)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    atomic_write(path, buffer.getvalue())


def _legend(axis: Any) -> None:
    if axis.get_legend_handles_labels()[0]:  # a run that was stopped at once has no curves yet
        axis.legend(frameon=False, fontsize=8, loc="best")


def _place(line: dict[str, Any]) -> int:
    """Where a record stands on the horizontal axis: environment steps, or updates where there is no environment."""
    return int(line["steps"] or line.get("updates", 0))


def _curve(axis: Any, lines: list[dict[str, Any]], name: str, colour: str, label: str) -> None:
    points = [(_place(line), line[name]) for line in lines if line.get(name) is not None]
    if points:
        marker = "o" if len(points) == 1 else ""  # a line through one point would not be seen
        axis.plot(*zip(*points, strict=True), color=colour, lw=1.2, marker=marker, ms=3, label=label)


def _best(axis: Any, validations: list[dict[str, Any]], panel: str) -> None:
    """Draw the mean of the best weights so far, and mark the validation at which the run reached the ones that it kept."""
    key = "mean" if panel == "return" else "success"
    points = [(_place(line), line["best"]) for line in validations if line.get("best", {}).get(key) is not None]
    if not points:
        return
    places, values = [place for place, _ in points], [best[key] for _, best in points]
    axis.step(places, values, where="post", color=BEST, lw=1, ls="--", label="best weights so far")
    axis.plot([_place(points[-1][1])], [values[-1]], color=BEST, marker="*", ms=9, lw=0, label="kept")


def _validation(
    axis: Any, validations: list[dict[str, Any]], panel: str, colour: str = VALIDATE, label: str = "validation (greedy)"
) -> None:
    key, span = ("mean", "interval") if panel == "return" else ("success", "success_interval")
    points = [(_place(line), line["validation"]) for line in validations if line["validation"].get(key) is not None]
    if not points:
        return
    steps = [step for step, _ in points]
    axis.plot(steps, [values[key] for _, values in points], color=colour, lw=1.6, marker="o", ms=3, label=label)
    bounded = [(step, *values[span]) for step, values in points if values.get(span) and None not in values[span]]
    if bounded:
        axis.fill_between(*zip(*bounded, strict=True), color=colour, alpha=0.15, lw=0)
