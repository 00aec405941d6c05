"""The arguments of `seqel evaluate`, which its two ways of evaluating share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from seqel.cli.arguments import ENV_HELP, EnvArguments, Json, Trust

__all__ = ["Arguments"]


@dataclass(frozen=True)
class Arguments:
    """What `seqel evaluate` takes."""

    run: Annotated[
        str,
        Positional,
        arg(
            metavar="RUN",
            help="a run's folder, or an agent's (weights.safetensors, config.json)",
            help_behavior_hint="",
        ),
    ]
    episodes: Annotated[int, arg(metavar="N", help="how many are played")] = 100
    seed: Annotated[int, arg(metavar="S", help="of the first episode")] = 0
    env: Annotated[
        str | None,
        arg(
            metavar="ENV",
            help=f"another environment than the one trained on: {ENV_HELP}",
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
            help="recorded sessions to estimate from, instead of playing",
            help_behavior_hint="(repeatable)",
        ),
    ] = ()
    schema: Annotated[
        str | None,
        arg(metavar="TOML", help="what its columns are (the run's own)", help_behavior_hint="", constructor=str),
    ] = None
    updates: Annotated[
        int | None,
        arg(
            metavar="N",
            help="of each of the four fits of values, with --data (3,000)",
            help_behavior_hint="",
            constructor=int,
        ),
    ] = None
    out: Annotated[
        str | None,
        arg(
            metavar="DIR",
            help="where an estimate (--data) is saved (RUN/estimate)",
            help_behavior_hint="",
            constructor=str,
        ),
    ] = None
    plot: Annotated[
        str | None,
        arg(
            metavar="PNG", help="with --data: draw the estimates into this file as well", help_behavior_hint="",
            constructor=str,
        ),
    ] = None  # fmt: skip
    held_out: Annotated[
        bool,
        arg(help="with --data: only the sessions that it was not trained on (train with --set offline.held_out=0.3)"),
    ] = False
    device: Annotated[str, arg(metavar="D", help="where the network runs: cpu, cuda")] = "cpu"
    json: Json = False
