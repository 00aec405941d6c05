"""The arguments of `seqel evaluate`, shared by its two ways of evaluating."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from seqel.cli.arguments import EnvArguments, Json, OtherEnv, OwnSchema, Trust

__all__ = ["Arguments"]


@dataclass(frozen=True)
class Arguments:
    """The arguments of `seqel evaluate`."""

    run: Annotated[
        str,
        Positional,
        arg(
            metavar="RUN",
            help="the folder of a run, or of an agent (weights.safetensors, config.json)",
            help_behavior_hint="",
        ),
    ]
    episodes: Annotated[int, arg(metavar="N", help="number of episodes to play")] = 100
    seed: Annotated[int, arg(metavar="S", help="seed of the first episode")] = 0
    env: OtherEnv = None
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
    schema: OwnSchema = None
    updates: Annotated[
        int | None,
        arg(
            metavar="N",
            help="updates of each of the four fits, with --data (3,000)",
            help_behavior_hint="",
            constructor=int,
        ),
    ] = None
    out: Annotated[
        str | None,
        arg(
            metavar="DIR",
            help="folder for an estimate from --data (RUN/estimate)",
            help_behavior_hint="",
            constructor=str,
        ),
    ] = None
    plot: Annotated[
        str | None,
        arg(
            metavar="PNG", help="with --data or --perturb: draw the figures into this file", help_behavior_hint="",
            constructor=str,
        ),
    ] = None  # fmt: skip
    perturb: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(
            metavar="KIND[:S1,S2]",
            help="play at rising strengths of a perturbation: noise, drop, delay, repeat, occlusion, typos, words, synonyms, "
            "fgsm, pgd",
            help_behavior_hint="(repeatable)",
        ),
    ] = ()
    held_out: Annotated[
        bool,
        arg(
            help="with --data: only sessions that the agent was not trained on (train with --set offline.held_out=0.3)"
        ),
    ] = False
    shield: Annotated[
        str | None,
        arg(
            metavar="TOML", help="rules that veto actions, in place of the agent's own", help_behavior_hint="",
            constructor=str,
        ),
    ] = None  # fmt: skip
    review: Annotated[
        str | None,
        arg(
            metavar="FILE", help="append the episodes to this queue, for people to decide where a calibrated agent abstains",
            help_behavior_hint="", constructor=str,
        ),
    ] = None  # fmt: skip
    group: Annotated[
        str | None,
        arg(
            metavar="COLUMN", help="with --data: compare the agent's decisions between the values of this column",
            help_behavior_hint="", constructor=str,
        ),
    ] = None  # fmt: skip
    device: Annotated[str, arg(metavar="D", help="device of the network: cpu, cuda")] = "cpu"
    json: Json = False
