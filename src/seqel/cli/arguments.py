"""Arguments that several commands share, and the conversion of their text to values."""

from __future__ import annotations

from typing import Annotated, Any

from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg

from seqel.errors import ConfigError

__all__ = [
    "ENV_HELP",
    "EnvArguments",
    "Flag",
    "Json",
    "OptionalEnv",
    "RequiredEnv",
    "Trust",
    "pairs",
    "settings",
    "values",
]

ENV_HELP = "a registered id (CartPole-v1), module:Id-v0, or your own class as module:ClassName"

RequiredEnv = Annotated[str, Positional, arg(metavar="ENV", help=ENV_HELP, help_behavior_hint="")]
OptionalEnv = Annotated[
    str | None, Positional, arg(metavar="ENV", help=ENV_HELP, help_behavior_hint="", constructor=str)
]
EnvArguments = Annotated[
    UseAppendAction[tuple[str, ...]],
    arg(
        metavar="NAME=VALUE",
        help="an argument of the environment's constructor, a TOML value",
        help_behavior_hint="(repeatable)",
    ),
]
Trust = Annotated[
    bool,
    FlagCreatePairsOff,
    arg(
        help="allow a run from another machine to import and open what it names; read its config.toml first",
        help_behavior_hint="",
    ),
]
OtherEnv = Annotated[
    str | None,
    arg(
        metavar="ENV",
        help=f"another environment than the one trained on: {ENV_HELP}",
        help_behavior_hint="",
        constructor=str,
    ),
]
OwnSchema = Annotated[
    str | None,
    arg(metavar="TOML", help="the schema of the data (the run's own)", help_behavior_hint="", constructor=str),
]
Flag = Annotated[bool, FlagCreatePairsOff]
Json = Annotated[
    bool,
    FlagCreatePairsOff,
    arg(help="one JSON object on standard output, progress on standard error", help_behavior_hint=""),
]


def pairs(texts: tuple[str, ...], option: str) -> dict[str, str]:
    """Split "NAME=VALUE" texts: ("a=1", "b=x") -> {"a": "1", "b": "x"}.

    Raises:
        ConfigError: a text has no "=", or a name is given twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise ConfigError(f"{option}: expected NAME=VALUE, got {text!r}")
        if name in found:
            raise ConfigError(f"{option}: {name} is given twice")
        found[name] = value.strip()
    return found


def settings(texts: tuple[str, ...]) -> dict[str, Any]:
    """Like `pairs` for --set; an entry of a table, such as `observation.text=128`, is read as TOML, like `values`."""
    from seqel.settings import list_settings, parse
    from seqel.training.config import RunConfig

    tables = tuple(f"{info.name}." for info in list_settings(RunConfig) if info.kind == "a table")
    return {name: parse(text) if name.startswith(tables) else text for name, text in pairs(texts, "--set").items()}


def values(texts: tuple[str, ...], option: str = "--env-arg") -> dict[str, Any]:
    """Like `pairs`, with each value read as TOML; other values are kept as text, so that `mode=easy` works."""
    from seqel.settings import parse

    return {name: parse(text) for name, text in pairs(texts, option).items()}
