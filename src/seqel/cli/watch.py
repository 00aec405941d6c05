"""`seqel watch RUN`: reads messages about companies as they arrive, and raises alerts."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from seqel.cli.arguments import Json
from seqel.errors import ConfigError

if TYPE_CHECKING:
    from seqel.agents.agent import Agent
    from seqel.cli.output import Output
    from seqel.tasks.opinion.monitoring import OpinionMonitoring
    from seqel.watching.session import Session
    from seqel.watching.trends import Trend, Trends
    from seqel.watching.watcher import Alert

__all__ = ["EXAMPLES", "SUMMARY", "Arguments", "run"]

SUMMARY = (
    "Read messages about companies as they arrive, raise alerts at a chosen rate of false alarms, and show trends."
)

EXAMPLES = """
A message is a line of JSON: {"time": "2026-11-28T09:30:00Z", "company": "Acme", "text": "..."}. Optional keys are "group" (of
related companies, which are read together, because a crisis may spread), "topic", and "id" (to detect duplicates). RUN was
trained with

  seqel train seqel/OpinionMonitoring-v0 --env-arg opinions=sentences.csv --preset monitoring

The thresholds are set on calm streams of the validation sentences, to the number of false alarms that the budget allows. The
state is kept in RUN/watch: a second call continues where the first stopped.

examples:
  seqel watch runs/opinion --input messages.jsonl --alerts alerts.jsonl
  seqel watch runs/opinion --input messages.jsonl --follow --budget "1 false alarm per month" --page today.html
  tail -f feed | seqel watch runs/opinion
"""

SHOWN = 12  # companies and topics whose trends are shown


@dataclass(frozen=True)
class Arguments:
    """The arguments of `seqel watch`."""

    run: Annotated[Positional[Path], arg(metavar="RUN", help="the folder of a run on seqel/OpinionMonitoring-v0")]
    input: Annotated[str, arg(metavar="FILE", help="the messages; -: standard input")] = "-"
    follow: Annotated[bool, arg(help="wait for more messages at the end of the file")] = False
    alerts: Annotated[
        Path | None, arg(metavar="FILE", help="append alerts to this file (JSON lines)", help_behavior_hint="")
    ] = None
    budget: Annotated[str, arg(metavar="TEXT", help="allowed false alarms about one company")] = (
        "1 false alarm per month"
    )
    cooldown: Annotated[float, arg(metavar="HOURS", help="shortest time between alerts about the same company")] = 24.0
    page: Annotated[
        Path | None, arg(metavar="HTML", help="write a page about the last day at the end", help_behavior_hint="")
    ] = None
    state: Annotated[
        Path | None, arg(metavar="DIR", help="where the state is kept (default: RUN/watch)", help_behavior_hint="")
    ] = None
    sentences: Annotated[
        Path | None,
        arg(metavar="CSV", help="labelled sentences (default: those of training)", help_behavior_hint=""),
    ] = None
    encoding: Annotated[
        str, arg(metavar="NAME", help="encoding of the labelled sentences (Financial PhraseBank: latin-1)")
    ] = "utf-8"
    json: Json = False


def run(arguments: Arguments, output: Output) -> dict[str, Any]:
    """Read the input to its end, or until Ctrl-C. Returns counts, alerts and trends."""
    from seqel.agents.agent import Agent
    from seqel.watching.calibration import calibrate, parse_budget, weights_of
    from seqel.watching.page import write_page
    from seqel.watching.session import Session, read_calibration, require_messages
    from seqel.watching.watcher import Watcher

    if arguments.follow and arguments.input == "-":
        raise ConfigError("--follow: expected --input FILE: standard input is read until it ends")
    if not arguments.cooldown >= 0.0:
        raise ConfigError(f"--cooldown: expected a number of hours of at least 0, got {arguments.cooldown}")
    source = None if arguments.input == "-" else Path(arguments.input)
    if source is not None and not source.is_file():  # before anything that takes time
        raise ConfigError(f"--input: expected a file of messages (JSON lines), got {source}, which does not exist")
    budget = parse_budget(arguments.budget)
    folder = arguments.state or arguments.run / "watch"
    if source is not None and not folder.exists():
        require_messages(source)
    agent = Agent.load(arguments.run)
    calibration = read_calibration(folder, weights_of(agent), budget)
    if calibration is None:
        output.note("setting the threshold on calm streams, once for this agent and budget ...")
        env = _task(agent, arguments)
        calibration = calibrate(agent, env.opinions, env.setting, budget)
    if agent.network.config.previous_reward:
        output.note(
            "note: this agent observes rewards, which are not known here and count as 0; train with --preset monitoring"
        )
    reader = calibration.sentiment
    output.note(
        f"threshold {calibration.alone:.3g}, in groups {calibration.threshold:.3g}: one false alarm about a company in "
        f"{budget:,.0f} hours"
    )
    output.note(f"sentiments: {reader.accuracy:.1%} of validation sentences right, macro-F1 {reader.f1:.3f}")
    session = Session(Watcher(agent, calibration, arguments.cooldown), folder, source, arguments.alerts, output.note)
    if session.messages:
        output.note(f"continuing after {session.messages:,} messages")
    if source is None and sys.stdin.isatty():
        output.note("reading standard input: one line of JSON per message, Ctrl-D ends it")
    alerts: list[dict[str, Any]] = []
    try:
        for some in session.alerts_of(arguments.follow):
            for alert in some:
                _show_alert(alert, output)
            alerts = (alerts + [alert.to_json() for alert in some])[-1_000:]
    except KeyboardInterrupt:
        output.note("stopped and saved: the same command continues from here")
    finally:
        session.close()
    watcher = session.watcher
    for name, trends in (("company", watcher.companies), ("topic", watcher.topics)):
        _show_trends(name, trends, output)
    output.show("", _counts(session))
    if arguments.page is not None:
        write_page(watcher, arguments.page)
        output.show(f"written: {arguments.page}")
    return {
        "messages": session.messages, "malformed": session.malformed, "duplicates": session.filter.duplicates,
        "backwards": session.filter.backwards, "alerts_given": session.given, "alerts": alerts,
        "companies": len(watcher.companies.places),
        "threshold": calibration.alone, "threshold_in_groups": calibration.threshold,
        "trends": [_trend(one) for one in watcher.companies.busiest(SHOWN)],
        "topics": [_trend(one) for one in watcher.topics.busiest(SHOWN)],
    }  # fmt: skip


def _task(agent: Agent, arguments: Arguments) -> OpinionMonitoring:
    """Return the environment that the agent was trained in, or one with other sentences."""
    from seqel.runs.run_config import CONFIG, read_run_config, run_of
    from seqel.runs.trust import known
    from seqel.tasks.opinion.monitoring import OpinionMonitoring
    from seqel.watching.calibration import companies_of

    run = run_of(arguments.run)
    named, trusted = dict(agent.info.get("env_args") or {}), False
    if (run / CONFIG).exists():
        config = read_run_config(run)
        named, trusted = config.env_args, known(run, config, False).trusted
    chosen: dict[str, Any] = {"setting": named.get("setting") or {"companies": companies_of(agent)}}
    if arguments.sentences is not None:
        chosen |= {"opinions": arguments.sentences, "encoding": arguments.encoding}
    elif trusted:  # a path that a foreign run names is not opened
        chosen |= {name: named[name] for name in ("opinions", "encoding") if name in named}
    if "opinions" not in chosen:
        raise ConfigError(
            f"{arguments.run}: its sentences are not known on this machine: expected --sentences FILE.csv with the columns "
            "result (negative, neutral or positive) and content"
        )
    return OpinionMonitoring(**chosen)


def _show_alert(alert: Alert, output: Output) -> None:
    from rich.text import Text

    from seqel.watching.messages import when

    output.show(
        Text.assemble(
            (f"{when(alert.time)}  ", "dim"), ("ALERT ", "bold red"), (alert.company, "bold"),
            f"  {alert.score:.3g} above {alert.threshold:.3g}",
        )
    )  # fmt: skip
    for time, raised, text in alert.causes:
        output.show(Text.assemble((f"  {when(time)} {raised:+.2g}  ", "dim"), text))


def _show_trends(name: str, trends: Trends, output: Output) -> None:
    from rich.table import Table
    from rich.text import Text

    from seqel.watching.page import ARROWS, bars

    some = trends.busiest(SHOWN)
    if not some:
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(name, min_width=10, overflow="fold")
    for column in ("messages", "last 24 h", "negative (95 %)", "week before", "", "positive"):
        table.add_column(column, justify="left" if column == "last 24 h" else "right", no_wrap=True)
    for one in some:
        low, high = one.interval
        pairs = tuple(a + b for a, b in zip(one.hours[::2], one.hours[1::2], strict=True))  # in 80 columns
        before = "" if one.before is None else f"{one.before:.0%}"
        table.add_row(
            Text(one.name), f"{one.messages:,}", bars(pairs), f"{one.shares[0]:.0%} ({low:.0%} to {high:.0%})", before,
            ARROWS[one.direction], f"{one.shares[2]:.0%}",
        )  # fmt: skip
    output.show("", table)


def _counts(session: Session) -> str:
    counts = (
        ("message", session.messages),
        ("alert", session.given),
        ("malformed line", session.malformed),
        ("duplicate", session.filter.duplicates),
    )
    parts = [
        f"{count:,} {name}{'' if count == 1 else 's'}"
        for name, count in counts
        if count or name in ("message", "alert")
    ]
    if session.filter.backwards:
        parts.append(f"{session.filter.backwards:,} older than the message before")
    return ", ".join(parts)


def _trend(one: Trend) -> dict[str, Any]:
    return {
        "name": one.name, "messages": one.messages, "negative": one.shares[0], "interval": list(one.interval),
        "before": one.before, "direction": one.direction, "positive": one.shares[2],
    }  # fmt: skip
