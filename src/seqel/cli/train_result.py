"""What `seqel train` shows at the end of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqel.cli.output import Output

__all__ = ["show_result"]

MANY_HELD_OUT = 0.2  # share of the sessions that was held out for an estimate, and not only for early stopping


def show_result(folder: Path, output: Output) -> dict[str, Any]:
    """Show what a run achieved and which command comes next. Returns its summary with its folder."""
    import json
    import shlex

    from rich.markup import escape

    from seqel.runs.run_config import AGENT, LAST_AGENT
    from seqel.terminal import below_here, summary_line

    place, folder = folder, below_here(folder)
    summary: dict[str, Any] = json.loads((place / "summary.json").read_text(encoding="utf-8"))
    best = summary["best"]
    curve = _validations(place)
    if best is not None and "agreement" in best["validation"]:
        from seqel.training.held_out import TITLES, describe_validation

        validation = best["validation"]
        title = TITLES[validation.get("metric", "unexplained")]
        where = escape(shlex.quote(str(folder)))
        files = " ".join(f"--data {shlex.quote(name)}" for name in summary["data"]) or "--data FILE"
        if summary["data"] and _held_out_share(place / AGENT) >= MANY_HELD_OUT:
            files += " --held-out"
        output.show(
            f"kept: the weights after {best['updates']:,} updates, {title} {describe_validation(validation)}",
            f"the agent agrees with the recorded action in {validation['agreement']:.0%} of the steps of "
            f"{validation['sessions']:,} held-out sessions",
            f"held-out score (larger is better)  {summary_line(curve)}",
            f"{summary['updates']:,} updates in {summary['seconds']:.0f} s; all files are in [bold]{folder}[/], the learning "
            "curve as learning-curve.png",
            f"next: [cyan]seqel rank {where} --item ITEM --why[/]   (the next items for a history)"
            if validation.get("metric") == "ranking"
            else f"next: [cyan]seqel evaluate {where} {escape(files)}[/]   "
            "(what the agent would earn, with intervals and warnings)",
        )
        return summary | {"folder": str(folder)}
    if best is not None:
        output.show(
            f"best weights, in {AGENT}/: {_described(best)}",
            f"last weights, in {LAST_AGENT}/: {_described(summary['final'])}",
        )
        if summary["final_is_below_best"]:
            output.show("[yellow]the run ended below its best:[/] the 95 % intervals of best and last do not overlap")
        output.show(f"validation return  {summary_line(curve)}")
    output.show(
        f"{summary['steps']:,} steps in {summary['seconds']:.0f} s; all files are in [bold]{folder}[/]",
        f"next: [cyan]seqel evaluate {folder}[/]   (fresh seeds, with intervals); plot: {folder}/learning-curve.png",
    )
    return summary | {"folder": str(folder)}


def _held_out_share(agent: Path) -> float:
    """Return the share of the sessions that an agent was not trained on; 0 if it is not known."""
    import json

    try:
        held = json.loads((agent / "config.json").read_text(encoding="utf-8"))["info"]["held_out"]
        return float(held["share"])
    except (OSError, ValueError, LookupError, TypeError):
        return 0.0


def _described(line: dict[str, Any]) -> str:
    """Return the figures of a validation, or of all validation episodes of the best weights, in words."""
    found = line["validation"]
    low, high = found.get("interval") or (None, None)
    within = "" if low is None or high is None else f" (95 % {low:.3f} to {high:.3f})"
    success = "" if found.get("success") is None else f", success {found['success']:.0%}"
    count = found.get("episodes")
    episodes = "" if count is None else f" in {count} episodes"
    return f"return {found['mean']:.3f}{within}{episodes}{success}, at {line['steps']:,} steps"


def _validations(folder: Path) -> list[float]:
    """Return the mean of every validation (or its score on held-out sessions), oldest first."""
    from seqel.runs.folder import RunFolder

    run = RunFolder(folder)
    try:
        return [line["validation"]["mean"] for line in run.records() if "validation" in line]
    finally:
        run.close()
