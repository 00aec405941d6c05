"""What is declared about a setting besides its name, type and default, and how a dataclass field carries it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, get_type_hints

__all__ = ["Setting", "declared", "dotted", "fields", "in_words", "section", "setting"]

Config = TypeVar("Config")

_KEY = "setting"  # in a dataclass field's metadata


@dataclass(frozen=True, slots=True)
class Setting:
    """The declared facts about a setting besides its name, type and default."""

    meaning: str  # one or two sentences
    unit: str = ""
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    or_zero: bool = False  # 0 is also allowed, outside the range: it switches something off
    words: tuple[tuple[str, Any], ...] = ()  # values with a name, allowed outside the range: (("auto", 0),)
    known_as: tuple[str, ...] = ()  # its names in other libraries, for "did you mean"
    renamed_from: tuple[str, ...] = ()  # its names in earlier versions, under which files may still have it

    def word(self, value: Any) -> str | None:
        """Return the name of a value; None if it has none."""
        return next((word for word, meant in self.words if meant == value), None)


def setting(
    default: Any = dataclasses.MISSING,
    meaning: str = "",
    *,
    factory: Callable[[], Any] | None = None,
    unit: str = "",
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    or_zero: bool = False,
    auto: Any = None,
    none: Any = None,
    known_as: tuple[str, ...] = (),
    renamed_from: tuple[str, ...] = (),
) -> Any:
    """Declare a dataclass field with its meaning, unit and range. Bounds apply to each number of a tuple.

    `auto`: the value that stands for "chosen when the run begins"; users write it as "auto", and `unresolved` lists the
    settings that have it. `none`: the value that stands for "there is none", which users write as "none".
    Both may lie outside the range. They are ordinary values of the setting's type, so no code has to handle None.
    `renamed_from`: its names in earlier versions, so that configs and agents written by those can still be read.
    """
    words = tuple((word, value) for word, value in (("auto", auto), ("none", none)) if value is not None)
    metadata = {_KEY: Setting(meaning, unit, ge, gt, le, lt, or_zero, words, known_as, renamed_from)}
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def section(kind: type[Config], meaning: str) -> Config:
    """Declare a dataclass field that holds another section, with that section's defaults."""
    made: Config = setting(factory=kind, meaning=meaning)
    return made


@cache
def fields(kind: Any) -> tuple[tuple[dataclasses.Field[Any], Any], ...]:
    """Return the fields of a section with their annotations resolved."""
    hints = get_type_hints(kind)
    return tuple((field, hints[field.name]) for field in dataclasses.fields(kind))


def declared(field: dataclasses.Field[Any]) -> Setting:
    """Return what `setting` declared about a field."""
    found: Setting = field.metadata.get(_KEY) or Setting("")
    return found


def in_words(field: dataclasses.Field[Any], value: Any) -> Any:
    """Return a setting's value as users write it: by its name if it has one, a tuple as a list."""
    word = declared(field).word(value)
    if word is not None:
        return word
    return list(value) if isinstance(value, tuple) else value


def dotted(prefix: str, name: str) -> str:
    """Return the name of a setting inside a section: "learner.learning_rate"."""
    return f"{prefix}.{name}" if prefix else name
