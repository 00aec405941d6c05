"""The arguments of `seqel monitor`, shared by the things that it does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from seqel.cli.arguments import ENV_HELP, EnvArguments, Flag, Json, Trust

__all__ = ["Arguments"]


@dataclass(frozen=True)
class Arguments:
    """The arguments of `seqel monitor`."""

    what: Annotated[
        tuple[str, ...],
        Positional,
        arg(metavar="WHAT", help="URL; or: reference RUN; or: report RUN", help_behavior_hint=""),
    ] = ()
    once: Annotated[Flag, arg(help="URL: show the metrics once, and exit", help_behavior_hint="")] = False
    every: Annotated[float, arg(metavar="SECONDS", help="URL: time between two refreshes")] = 2.0
    timeout: Annotated[float, arg(metavar="SECONDS", help="URL: how long to wait for an answer")] = 5.0
    write_rules: Annotated[
        Path | None,
        arg(
            metavar="FOLDER",
            help="write the alert rules for Prometheus, their tests, and the dashboard for Grafana into this folder",
            help_behavior_hint="",
        ),
    ] = None
    episodes: Annotated[int, arg(metavar="N", help="reference: episodes to play, or recorded sessions to read")] = 300
    seed: Annotated[
        int, arg(metavar="S", help="reference: seed of the first episode, or of the choice of sessions")
    ] = 0
    env: Annotated[
        str | None,
        arg(
            metavar="ENV",
            help=f"reference: another environment than the one trained on: {ENV_HELP}",
            help_behavior_hint="",
            constructor=str,
        ),
    ] = None
    env_arg: EnvArguments = ()
    trust: Trust = False
    data: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(
            metavar="FILE",
            help="reference: recorded sessions to read, instead of playing",
            help_behavior_hint="(repeatable)",
        ),
    ] = ()
    schema: Annotated[
        str | None,
        arg(
            metavar="TOML",
            help="reference: the schema of the data (the run's own)",
            help_behavior_hint="",
            constructor=str,
        ),
    ] = None
    states: Annotated[
        Flag,
        arg(
            help="reference: also learn which states of the network are familiar (RUN/states.safetensors)",
            help_behavior_hint="",
        ),
    ] = False
    false_alarms: Annotated[
        float,
        arg(metavar="SHARE", help="reference --states: share of familiar states that may be reported as unfamiliar"),
    ] = 0.01
    out: Annotated[
        Path | None,
        arg(metavar="FILE", help="reference: the file to write (RUN/reference.json)", help_behavior_hint=""),
    ] = None
    decisions: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(
            metavar="FILE",
            help="report: a log of decisions (JSON lines), or a pattern",
            help_behavior_hint="(repeatable)",
        ),
    ] = ()
    reference: Annotated[
        Path | None,
        arg(metavar="FILE", help="report: the reference to compare with (RUN/reference.json)", help_behavior_hint=""),
    ] = None
    html: Annotated[
        Path | None, arg(metavar="FILE", help="report: also write the report as a page", help_behavior_hint="")
    ] = None
    last: Annotated[int, arg(metavar="N", help="report: only the newest N decisions of the log")] = 100_000
    hours: Annotated[
        float | None,
        arg(metavar="H", help="report: only decisions of the last H hours", help_behavior_hint="", constructor=float),
    ] = None
    fail_on_drift: Annotated[Flag, arg(help="report: exit with code 1 if there is drift", help_behavior_hint="")] = (
        False
    )
    device: Annotated[str, arg(metavar="D", help="reference, report: device of the network: cpu, cuda")] = "cpu"
    json: Json = False
