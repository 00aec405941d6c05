"""`seqel monitor report RUN --decisions FILE`: compares logged decisions with the reference of the agent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqel.errors import ConfigError

if TYPE_CHECKING:
    from seqel.cli.monitor_arguments import Arguments
    from seqel.cli.output import Output
    from seqel.monitoring.comparison import Comparison

__all__ = ["run"]

SHOWN = 15  # features
DRIFTS = 10


def run(folder: Path, arguments: Arguments, output: Output) -> dict[str, Any]:
    """Read the log, compare, write the page. Returns the comparison as plain values."""
    from rich.markup import escape

    from seqel.agents.agent import Agent
    from seqel.datasets.reading.table import expand
    from seqel.monitoring.comparison import compare
    from seqel.monitoring.log import read_log
    from seqel.monitoring.reference import FILE, Reference
    from seqel.monitoring.report import report_page
    from seqel.runs.run_config import run_of
    from seqel.storage import atomic_write

    if not arguments.decisions:
        raise ConfigError("report: expected --decisions FILE, a log of decisions (JSON lines)")
    if arguments.last < 1:
        raise ConfigError(f"--last: expected at least 1 decision, got {arguments.last}")
    reference = Reference.load(arguments.reference or run_of(folder) / FILE)
    agent = Agent.load(folder, arguments.device)
    logged = read_log(expand(arguments.decisions), agent, arguments.last)
    found = compare(reference, logged)
    if logged.unreadable:
        output.note(f"note: {logged.unreadable:,} lines were left out; {logged.problems[0]}")
    _show(found, output)
    if arguments.html is not None:
        title = f"Drift of {run_of(folder).resolve().name}"
        atomic_write(arguments.html, report_page(found, reference, title, logged.problems, logged.unreadable))
        output.show("", f"report: {escape(str(arguments.html))}")
    return {**found.as_json(), "unreadable": logged.unreadable, "problems": logged.problems}


def _show(found: Comparison, output: Output) -> None:
    from rich.markup import escape
    from rich.table import Table

    colours = {"large": "bold red", "moderate": "yellow", "small": "dim"}
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("feature")
    for name in ("PSI", "", "missing", "reference", "mean", "reference"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in found.features[:SHOWN]:
        table.add_row(
            escape(one.name), f"{one.psi:.3f}", f"[{colours[one.severity]}]{one.severity}[/]", f"{one.live.missing:.1%}",
            f"{one.reference.missing:.1%}", f"{one.live.mean:.4g}", f"{one.reference.mean:.4g}",
        )  # fmt: skip
    output.show(f"{found.decisions:,} decisions of {found.sessions:,} sessions", "", table)
    if len(found.features) > SHOWN:
        output.show(f"[dim]and {len(found.features) - SHOWN} more features[/]")
    output.show("")
    for drift in found.drifts[:DRIFTS]:
        output.show(f"[bold red]drift[/] at decision {drift.decision:,}: {escape(str(drift))}")
    if not found.drifts:
        output.show("[green]no drift was detected[/]")
    elif len(found.drifts) > DRIFTS:
        output.show(f"[dim]and {len(found.drifts) - DRIFTS} more[/]")
