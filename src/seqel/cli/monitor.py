"""`seqel monitor`: watches a service that serves an agent, makes its reference, and reports drift."""

from __future__ import annotations

import math
import time
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqel.cli.monitor_arguments import Arguments
from seqel.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from seqel.cli.output import Output

__all__ = ["EXAMPLES", "SUMMARY", "Arguments", "run"]

SUMMARY = "Monitor a service in the terminal, write the reference of an agent, or report drift."

EXAMPLES = """
URL is the address of a service with Prometheus metrics at /metrics. Without --once, the table is refreshed until Ctrl-C, and
rates are those of the last 30 seconds; with --once, they are means since the service started. Exit code 1: the service cannot
be reached.

`reference` plays episodes as `seqel evaluate` does, or reads recorded sessions if the agent was trained on some (or with
--data). It writes RUN/reference.json: the distributions of observations, actions, scores and rewards. A service compares its
decisions with this file.

`report` compares logs of decisions (JSON lines) with the reference. It can write an HTML page, for instance on a schedule. If
`reference --states` was run, it adds the share of unfamiliar states. RUN may be an exported file (.onnx) with reference.json
beside it; the report then has no states. Exit code 1 with --fail-on-drift: a drift was detected, an index is large, or more
than twice as many states are unfamiliar as expected.

examples:
  seqel monitor http://localhost:8000                    requests, latency, sessions, actions, drift
  seqel monitor localhost:8000 --once --json             the same for programs
  seqel monitor reference runs/mine --episodes 300       do this before you put the agent in service
  seqel monitor reference runs/offers --data sessions.parquet
  seqel monitor report runs/mine --decisions "logs/*.jsonl" --html drift.html
  seqel monitor report runs/mine --decisions "logs/*.jsonl" --hours 24 --html drift.html --fail-on-drift
  seqel monitor --write-rules monitoring/                alert rules for Prometheus, a dashboard for Grafana
"""

RATES = 30.0  # seconds over which the live table takes rates
SHOWN = 8  # actions and features
OF_URL = ("once", "every", "timeout")
OF_REFERENCE = ("states", "false_alarms", "episodes", "seed", "env", "env_arg", "trust", "data", "schema", "out")
OF_REPORT = ("decisions", "reference", "html", "last", "hours", "fail_on_drift")
OF_BOTH = ("device",)


def run(arguments: Arguments, output: Output) -> dict[str, Any] | tuple[dict[str, Any], int]:
    """Do what the first argument says. Returns the summary of a service, or of a reference, or the comparison."""
    what = arguments.what
    if arguments.write_rules is not None:
        if what:
            raise ConfigError(f"--write-rules: expected nothing else, got {' '.join(what)!r}")
        return _write_rules(arguments.write_rules, output)
    if not what:
        raise ConfigError("expected the URL of a service, `reference RUN`, `report RUN`, or --write-rules FOLDER")
    if what[0] in ("reference", "report"):
        if len(what) != 2:
            raise ConfigError(f"expected one RUN after {what[0]}, got {len(what) - 1}")
        own = OF_REFERENCE if what[0] == "reference" else OF_REPORT
        _require_only((*own, *OF_BOTH), what[0], arguments)
        if what[0] == "reference":
            from seqel.cli import monitor_reference

            return monitor_reference.run(Path(what[1]), arguments, output)
        from seqel.cli import monitor_report

        return monitor_report.run(Path(what[1]), arguments, output)
    if len(what) > 1:
        raise ConfigError(f"expected one URL, or `reference` or `report` first, got {' '.join(what)!r}")
    _require_only(OF_URL, "a URL", arguments)
    if not arguments.every > 0.0 or not arguments.timeout > 0.0:
        raise ConfigError(f"expected positive seconds, got --every {arguments.every} --timeout {arguments.timeout}")
    return _watch(what[0], arguments, output)


def _require_only(own: tuple[str, ...], what: str, arguments: Arguments) -> None:
    """Raise ConfigError for an option of something else."""
    for one in fields(arguments):
        if one.name not in (*own, "what", "json", "write_rules") and getattr(arguments, one.name) != one.default:
            raise ConfigError(f"--{one.name.replace('_', '-')} does not apply to {what}")


def _write_rules(folder: Path, output: Output) -> dict[str, Any]:
    from rich.markup import escape

    from seqel.monitoring.packaged import write_rules

    written = write_rules(folder)
    for path in written:
        output.show(f"written: {escape(str(path))}")
    output.show(f"\n[dim]check them with: promtool test rules {escape(str(folder))}/alerts_test.yaml[/]")
    return {"written": [str(path) for path in written]}


# -- a service in the terminal -----------------------------------------------------------------------------------------


def _watch(address: str, arguments: Arguments, output: Output) -> dict[str, Any]:
    from seqel.monitoring.scrape import Scrape, metrics_url, read_metrics, summarise

    url = metrics_url(address)
    earlier: list[Scrape] = [read_metrics(url, arguments.timeout)]
    found = summarise(earlier[0])
    if arguments.once:
        output.show(_screen(url, found))
        return found
    from rich.live import Live

    console = output.progress if output.as_json else None
    try:
        with Live(_screen(url, found), console=console, refresh_per_second=4, screen=False) as live:
            while True:
                time.sleep(arguments.every)
                now = read_metrics(url, arguments.timeout)
                while len(earlier) > 1 and now.time - earlier[1].time >= RATES:
                    earlier.pop(0)
                found = summarise(now, earlier[0])
                earlier.append(now)
                live.update(_screen(url, found))
    except KeyboardInterrupt:
        output.note("stopped")
    return found


def _screen(url: str, found: dict[str, Any]) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from seqel.terminal import duration

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    limit = found["sessions_limit"]
    closed = ", ".join(f"{count:,.0f} {name}" for name, count in found["sessions_closed"].items() if count)
    low, high = found["q_range"]
    rows = {
        "agent": f"{found['agent'] or '-'}, in service for {duration(found['up_seconds'])}",
        "requests": f"{found['requests_per_second']:,.1f} per second, {found['error_share']:.2%} errors",
        "latency": f"{_milliseconds(found['latency_p50'])} median, {_milliseconds(found['latency_p99'])} for 99 %",
        "batches": f"{_number(found['batch_rows'])} decisions, {_milliseconds(found['batch_seconds'])} each; "
        f"{found['queue']:,.0f} requests wait; {found['prefill_share']:.0%} of the time rebuilds memory",
        "sessions": f"{found['sessions']:,.0f} open" + (f" of at most {limit:,.0f}" if limit else "")
        + (f"; {closed}" if closed else ""),
        "refusals": ", ".join(f"{count:,.0f} {name}" for name, count in found["refusals"].items()) or "none",
        "decisions": f"{found['decisions_per_second']:,.1f} per second",
        "actions": ", ".join(f"{name} {share:.0%}" for name, share in list(found["actions"].items())[:SHOWN]) or "-",
        "q_max": f"{_number(found['q_max'])} (reference {_number(low)} to {_number(high)})",
        "gap": _number(found["q_gap"]),
        "reward": f"{_number(found['reward'])}, known for {_percent(found['rewards_per_decision'])} of the decisions",
        "PSI": ", ".join(f"{name} {_number(value)}" for name, value in list(found["psi"].items())[:SHOWN]) or "-",
    }  # fmt: skip
    for name, text in rows.items():
        table.add_row(name, Text(text))
    alerts = [Text(f"! {text}", style="bold red") for text in found["alerts"]] or [Text("no alerts", style="green")]
    title = Text.assemble((url, "bold"), (f"  over {duration(found['seconds'])}", "dim"))
    return Group(title, "", table, "", *alerts)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0%}"


def _milliseconds(seconds: float) -> str:
    return "-" if math.isnan(seconds) else f"{1e3 * seconds:.3g} ms"
