"""Lists the declared settings, for the reference page, `seqel settings` and "did you mean"."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from seqel.settings.checks import describe
from seqel.settings.declaration import Setting, declared, dotted, fields, in_words

__all__ = ["SettingInfo", "as_toml", "list_sections", "list_settings", "suggest"]


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """Everything about one setting, for the reference page and `seqel settings`."""

    name: str  # dotted: "learner.learning_rate"
    kind: str  # "a number", "one of 'adamw', 'sgd'"
    expected: str  # the kind and the range: "a number of at least 0"
    default: Any  # as users write it: "auto" or "none" where these stand for a value
    meaning: str
    unit: str
    known_as: tuple[str, ...]
    renamed_from: tuple[str, ...]


def list_settings(kind: Any, prefix: str = "") -> Iterator[SettingInfo]:
    """Yield every setting of a section and of the sections inside it, in the order of declaration."""
    for field, annotation in fields(kind):
        name = dotted(prefix, field.name)
        if dataclasses.is_dataclass(annotation):
            yield from list_settings(annotation, name)
            continue
        facts, default = declared(field), field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        yield SettingInfo(
            name, describe(annotation, Setting("")), describe(annotation, facts), in_words(field, default), facts.meaning,
            facts.unit, facts.known_as, facts.renamed_from,
        )  # fmt: skip


def list_sections(kind: Any) -> dict[str, str]:
    """The sections of a config, in the order of declaration: name -> what it is for."""
    return {
        field.name: declared(field).meaning
        for field, annotation in fields(kind)
        if dataclasses.is_dataclass(annotation)
    }


def as_toml(value: Any) -> str:
    """Return a value as it is written in TOML and after `--set NAME=`."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(as_toml, value))}]"
    return str(value)


def suggest(name: str, kind: Any) -> str | None:
    """Return the setting that was probably meant by an unknown dotted name; None if none is similar.

    In this order: the same last part in another section, a name that other libraries or earlier versions use, initials
    ("lr"), a similar name.
    """
    from difflib import get_close_matches

    part, last = name.rpartition(".")[0], name.rpartition(".")[2].lower()
    known = {info.name: info for info in list_settings(kind)}
    ends = {full: full.rpartition(".")[2] for full in known}
    for found in (
        [full for full, end in ends.items() if end.strip("_") == last],
        [full for full, info in known.items() if last in info.known_as + info.renamed_from],
        [full for full, end in ends.items() if len(last) > 1 and "".join(w[:1] for w in end.split("_")) == last],
        get_close_matches(name, known, n=1, cutoff=0.75),
        [full for end in get_close_matches(last, [*ends.values()], n=1) for full in ends if ends[full] == end],
    ):
        if found:  # if there are several, the one in the named section
            return next((full for full in found if full.rpartition(".")[0] == part), found[0])
    return None
