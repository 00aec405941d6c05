"""`seqel monitor report RUN --decisions FILE`: compares logged decisions with the reference of the agent."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqel.errors import ConfigError, DataError

if TYPE_CHECKING:
    from seqel.cli.monitor_arguments import Arguments
    from seqel.cli.output import Output
    from seqel.monitoring.comparison import Comparison
    from seqel.monitoring.familiarity import Familiarity
    from seqel.monitoring.log import LoggedDecisions
    from seqel.robustness.reference import StateReference

__all__ = ["run"]

SHOWN = 15  # features
DRIFTS = 10


def run(path: Path, arguments: Arguments, output: Output) -> tuple[dict[str, Any], int]:
    """Read the logs, compare, write the page. Returns the comparison as plain values, and the exit code."""
    from rich.markup import escape

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
    if arguments.hours is not None and not 0 < arguments.hours < math.inf:
        raise ConfigError(f"--hours: expected a positive number, got {arguments.hours}")
    exported = path.suffix == ".onnx"
    folder = path.parent if exported else run_of(path)
    reference = Reference.load(arguments.reference or folder / FILE)
    agent = _agent(path, arguments.device)
    states = None if exported else _states(folder)
    since = -math.inf if arguments.hours is None else time.time() - 3600 * arguments.hours
    logged = read_log(expand(arguments.decisions), agent, arguments.last, since=since, observations=states is not None)
    found = compare(reference, logged)
    familiarity = None if states is None else _familiarity(agent, states, logged, output)
    if logged.unreadable:
        output.note(f"note: {logged.unreadable:,} lines were left out; {logged.problems[0]}")
    _show(found, output)
    if familiarity is not None:
        _show_states(familiarity, output)
    if arguments.html is not None:
        name = path.stem if exported else folder.resolve().name
        page = report_page(found, reference, f"Drift of {name}", logged.problems, logged.unreadable, familiarity)
        atomic_write(arguments.html, page)
        output.show("", f"report: {escape(str(arguments.html))}")
    drifted = found.drifted or (familiarity is not None and familiarity.large)
    values = {
        **found.as_json(), "states": None if familiarity is None else familiarity.as_json(), "drifted": drifted,
        "unreadable": logged.unreadable, "problems": logged.problems,
    }  # fmt: skip
    return values, int(drifted and arguments.fail_on_drift)


def _agent(path: Path, device: str) -> Any:
    if path.suffix == ".onnx":
        from seqel.deployment.runtime import ExportedAgent

        return ExportedAgent(path)
    from seqel.agents.agent import Agent

    return Agent.load(path, device)


def _states(folder: Path) -> StateReference | None:
    """Return the familiar states of a run, if it has a file of them."""
    from seqel.robustness.reference import FILE, StateReference

    return StateReference.load(folder / FILE) if (folder / FILE).exists() else None


def _familiarity(agent: Any, states: StateReference, logged: LoggedDecisions, output: Output) -> Familiarity | None:
    from seqel.monitoring.familiarity import compare_states
    from seqel.runs.progress_bar import sharing

    total = max(1, sum(step == 0 for step in logged.steps))
    try:
        with sharing(output.progress, "reading the sessions again") as tell:
            return compare_states(
                agent, states, logged, progress=lambda done: tell(min(1.0, done / total), f"{done:,} sessions")
            )
    except DataError as error:
        output.note(f"note: {error}")
        return None


def _show_states(found: Familiarity, output: Output) -> None:
    shares = ", ".join(f"{name} {share:.2%}" for name, share in found.shares.items())
    mark = "[bold red]unfamiliar states[/]" if found.large else "unfamiliar states"
    output.show(
        f"{mark}: {shares}, where {found.expected:.2%} are expected ({found.states:,} states of {found.sessions:,} sessions)"
    )


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
