"""The arguments of `seqel explain`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from seqel.cli.arguments import EnvArguments, Json, OtherEnv, OwnSchema, Trust

__all__ = ["Arguments"]


@dataclass(frozen=True)
class Arguments:
    """The arguments of `seqel explain`."""

    run: Annotated[
        str,
        Positional,
        arg(metavar="RUN", help="the folder of a run, or of an agent", help_behavior_hint=""),
    ]
    seed: Annotated[int, arg(metavar="S", help="seed of the episode to play")] = 0
    data: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="FILE", help="recorded sessions, instead of playing", help_behavior_hint="(repeatable)"),
    ] = ()
    session: Annotated[
        str | None,
        arg(metavar="ID", help="with --data: the session (the first one)", help_behavior_hint="", constructor=str),
    ] = None
    schema: OwnSchema = None
    step: Annotated[
        int | None,
        arg(metavar="N", help="the decision (the most interesting one)", help_behavior_hint="", constructor=int),
    ] = None
    method: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(
            metavar="NAME",
            help="occlusion, exchange, rollout, gradient, integrated or attention (terminal: occlusion; page: all)",
            help_behavior_hint="(repeatable)",
        ),
    ] = ()
    action: Annotated[
        str | None,
        arg(metavar="A", help="the action to explain, by name or number (the agent's choice)", help_behavior_hint="",
            constructor=str),
    ] = None  # fmt: skip
    over: Annotated[
        str,
        arg(metavar="B", help="the action to compare it with, or none"),
    ] = "runner-up"
    limit: Annotated[int, arg(metavar="N", help="maximum number of steps of the episode")] = 600
    out: Annotated[
        Path | None, arg(metavar="HTML", help="write a page of the episode into this file", help_behavior_hint="")
    ] = None
    png: Annotated[
        Path | None, arg(metavar="PNG", help="draw the strips of the decision into this file", help_behavior_hint="")
    ] = None
    env: OtherEnv = None
    env_arg: EnvArguments = ()
    trust: Trust = False
    device: Annotated[str, arg(metavar="D", help="device of the network: cpu, cuda")] = "cpu"
    json: Json = False
