"""Copies of a config with other values, a config as a nested dict, and the settings that are still to be chosen."""

from __future__ import annotations

import dataclasses
import tomllib
from typing import Any, Literal, TypeVar, get_origin

from seqel.errors import ConfigError
from seqel.settings.declaration import declared, dotted, fields, in_words
from seqel.settings.listing import suggest

__all__ = ["as_dict", "parse", "replace", "under_present_names", "unresolved"]

Config = TypeVar("Config")


def replace(config: Config, changes: dict[str, Any]) -> Config:
    """Return a copy with other values. `changes` is nested like the sections; texts are read as TOML values.

    Raises:
        ConfigError: a name is unknown (with a suggestion if one is similar), or a value does not fit.
    """
    return _replace(config, changes, "", type(config))


def _replace(config: Config, changes: dict[str, Any], prefix: str, root: type[Any]) -> Config:
    kind: Any = type(config)
    kinds = {field.name: annotation for field, annotation in fields(kind)}
    changed: dict[str, Any] = {}
    for name, value in under_present_names(kind, changes, prefix).items():
        full = dotted(prefix, name)
        if name not in kinds:
            near = suggest(full, root)
            hint = f"; did you mean {near}?" if near else "."
            raise ConfigError(f"unknown setting {full}{hint} Known: {', '.join(dotted(prefix, one) for one in kinds)}")
        current = getattr(config, name)
        if dataclasses.is_dataclass(current):
            if isinstance(value, dict):
                value = _replace(current, value, full, root)
            elif not isinstance(value, type(current)):
                raise ConfigError(f"{full}: expected a table of settings, got {value!r}")
        elif isinstance(value, str) and not (kinds[name] is str or get_origin(kinds[name]) is Literal):
            value = parse(value)  # if it is still a string, `check` refuses it by name
        changed[name] = value
    copy: Config = dataclasses.replace(config, **changed)  # type: ignore[type-var]
    return copy


def under_present_names(kind: Any, values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of a section with the settings that were renamed since under their present names.

    Raises:
        ConfigError: a setting is given under both names.
    """
    present = {former: field.name for field, _ in fields(kind) for former in declared(field).renamed_from}
    found: dict[str, Any] = {}
    for name, value in values.items():
        current = present.get(name, name)
        if current in found or (current != name and current in values):
            former = next(old for old in values if old != current and present.get(old) == current)
            raise ConfigError(
                f"{dotted(prefix, former)} is now called {dotted(prefix, current)}: expected one of the two, got both"
            )
        found[current] = value
    return found


def as_dict(config: Any) -> dict[str, Any]:
    """Return a config as nested dicts that TOML can hold and `replace` reads back: named values as words, tuples as lists."""
    found: dict[str, Any] = {}
    for field, annotation in fields(config.__class__):
        value = getattr(config, field.name)
        found[field.name] = as_dict(value) if dataclasses.is_dataclass(annotation) else in_words(field, value)
    return found


def unresolved(config: Any, prefix: str = "") -> list[str]:
    """Return the dotted names of the settings that are "auto": their value has yet to be chosen."""
    found: list[str] = []
    for field, annotation in fields(config.__class__):
        value, name = getattr(config, field.name), dotted(prefix, field.name)
        if dataclasses.is_dataclass(annotation):
            found += unresolved(value, name)
        elif declared(field).word(value) == "auto":
            found.append(name)
    return found


def parse(text: str) -> Any:
    """Read a string, for instance from a command line, as a TOML value; return it unchanged if it is none."""
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except (ValueError, RecursionError):  # ValueError: also more digits than Python reads
        return text
