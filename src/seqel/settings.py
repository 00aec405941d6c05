"""Declaration of settings: meaning, unit and range, declared once next to the default, and checked from there.

A config section is a frozen dataclass whose fields are made by `setting` and whose `__post_init__` calls `check`:

    @dataclass(frozen=True, slots=True)
    class LearnerConfig:
        learning_rate: float = setting(1e-3, "Largest step size of the optimiser.", ge=0.0, known_as=("lr",))

        def __post_init__(self) -> None:
            check(self, "learner")

The type comes from the annotation (int, float, bool, str, `| None`, Literal, tuple, dict[str, Any], or another section), so
the program, its error messages and the reference page cannot disagree. Checks that involve several settings stay in the
section's `__post_init__`. Does not import torch.
"""

from __future__ import annotations

import dataclasses
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from numbers import Real
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from seqel.errors import ConfigError

__all__ = [
    "Setting", "SettingInfo", "as_toml", "check", "list_sections", "list_settings", "replace", "section", "setting",
    "suggest",
]  # fmt: skip

Config = TypeVar("Config")

LARGEST_INT = 2**63 - 1  # TOML's and torch's integers have 64 bits
LARGEST_FLOAT = sys.float_info.max
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
    known_as: tuple[str, ...] = ()  # its names in other libraries, for "did you mean"


@dataclass(frozen=True, slots=True)
class SettingInfo:
    """Everything about one setting, for the reference page and `seqel settings`."""

    name: str  # dotted: "learner.learning_rate"
    kind: str  # "a number", "one of 'adamw', 'sgd'"
    expected: str  # the kind and the range: "a number of at least 0"
    default: Any
    meaning: str
    unit: str
    known_as: tuple[str, ...]


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
    known_as: tuple[str, ...] = (),
) -> Any:
    """Declare a dataclass field with its meaning, unit and range. Bounds apply to each number of a tuple."""
    declared = {_KEY: Setting(meaning, unit, ge, gt, le, lt, or_zero, known_as)}
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=declared)
    return dataclasses.field(default=default, metadata=declared)


def section(kind: type[Config], meaning: str) -> Config:
    """Declare a dataclass field that holds another section, with that section's defaults."""
    made: Config = setting(factory=kind, meaning=meaning)
    return made


def check(config: Any, prefix: str = "") -> None:
    """Check every setting of a frozen dataclass against its annotation and its declared range.

    Equivalent values are stored in the annotated type: 3 as 3.0 if a float is expected, a list as a tuple, a numpy scalar as
    a Python number.

    Raises:
        ConfigError: the message names the setting with `prefix`, what was expected and what was got.
    """
    for field, kind in _fields(config.__class__):
        value = getattr(config, field.name)
        fitting = _fit(value, kind, _declared(field), _join(prefix, field.name))
        if fitting is not value:
            object.__setattr__(config, field.name, fitting)


def replace(config: Config, changes: dict[str, Any]) -> Config:
    """Return a copy with other values. `changes` is nested like the sections; texts are read as TOML values.

    Raises:
        ConfigError: a name is unknown (with a suggestion if one is similar), or a value does not fit.
    """
    return _replace(config, changes, "", type(config))


def _replace(config: Config, changes: dict[str, Any], prefix: str, root: type[Any]) -> Config:
    kind: Any = type(config)
    kinds = {field.name: annotation for field, annotation in _fields(kind)}
    changed: dict[str, Any] = {}
    for name, value in changes.items():
        dotted = _join(prefix, name)
        if name not in kinds:
            near = suggest(dotted, root)
            hint = f"; did you mean {near}?" if near else "."
            raise ConfigError(f"unknown setting {dotted}{hint} Known: {', '.join(_join(prefix, one) for one in kinds)}")
        current = getattr(config, name)
        if dataclasses.is_dataclass(current):
            if isinstance(value, dict):
                value = _replace(current, value, dotted, root)
            elif not isinstance(value, type(current)):
                raise ConfigError(f"{dotted}: expected a table of settings, got {value!r}")
        elif isinstance(value, str):
            value = _parse(value, kinds[name])
        changed[name] = value
    copy: Config = dataclasses.replace(config, **changed)  # type: ignore[type-var]
    return copy


def list_settings(kind: Any, prefix: str = "") -> Iterator[SettingInfo]:
    """Yield every setting of a section and of the sections inside it, in the order of declaration."""
    for field, annotation in _fields(kind):
        name = _join(prefix, field.name)
        if dataclasses.is_dataclass(annotation):
            yield from list_settings(annotation, name)
            continue
        declared = _declared(field)
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        yield SettingInfo(
            name, _describe(annotation, Setting("")), _describe(annotation, declared), default, declared.meaning,
            declared.unit, declared.known_as,
        )  # fmt: skip


def list_sections(kind: Any) -> dict[str, str]:
    """The sections of a config, in the order of declaration: name -> what it is for."""
    return {
        field.name: _declared(field).meaning
        for field, annotation in _fields(kind)
        if dataclasses.is_dataclass(annotation)
    }


def as_toml(value: Any) -> str:
    """A value as it is written in TOML and after `--set NAME=`; "none" for None, which TOML leaves out."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(as_toml, value))}]"
    return "none" if value is None else str(value)


def suggest(name: str, kind: Any) -> str | None:
    """Return the setting that was probably meant by an unknown dotted name; None if none is similar.

    In this order: the same last part in another section, a name that other libraries use, initials ("lr"), a similar name.
    """
    from difflib import get_close_matches

    part, last = name.rpartition(".")[0], name.rpartition(".")[2].lower()
    known = {info.name: info for info in list_settings(kind)}
    ends = {full: full.rpartition(".")[2] for full in known}
    for found in (
        [full for full, end in ends.items() if end.strip("_") == last],
        [full for full, info in known.items() if last in info.known_as],
        [full for full, end in ends.items() if len(last) > 1 and "".join(w[:1] for w in end.split("_")) == last],
        get_close_matches(name, known, n=1, cutoff=0.75),
        [full for end in get_close_matches(last, [*ends.values()], n=1) for full in ends if ends[full] == end],
    ):
        if found:  # if there are several, the one in the named section
            return next((full for full in found if full.rpartition(".")[0] == part), found[0])
    return None


# ------------------------------------------------------------------------------------------------- from annotations


@cache
def _fields(kind: Any) -> tuple[tuple[dataclasses.Field[Any], Any], ...]:
    """Return the fields of a section with their annotations resolved."""
    hints = get_type_hints(kind)
    return tuple((field, hints[field.name]) for field in dataclasses.fields(kind))


def _declared(field: dataclasses.Field[Any]) -> Setting:
    found: Setting = field.metadata.get(_KEY) or Setting("")
    return found


def _join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _fit(value: Any, kind: Any, declared: Setting, name: str) -> Any:
    """Convert the value to the type `kind`. Raises ConfigError if it has another type or is outside the range."""
    annotated = kind
    if get_origin(kind) in (Union, UnionType):
        if value is None and NoneType in get_args(kind):
            return None
        (kind,) = (part for part in get_args(kind) if part is not NoneType)
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        if isinstance(value, str | int | bool) and value in parts:
            return value
    elif origin is tuple:
        many = parts[-1] is Ellipsis
        if isinstance(value, list | tuple) and (many or len(value) == len(parts)):
            kinds = (parts[0],) * len(value) if many else parts
            pairs = enumerate(zip(value, kinds, strict=True))
            return tuple(_fit(part, inner, declared, f"{name}[{n}]") for n, (part, inner) in pairs)
    elif origin is dict:
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return value
    elif kind in (int, float) and isinstance(value, int) and abs(value) > LARGEST_INT:
        expected = f"{_describe(annotated, declared)} and less than 2^63"
        raise ConfigError(f"{name}: expected {expected}, got a number of {value.bit_length()} bits")
    elif kind in (int, float):
        if _is_number(value, kind) and _within(value, declared):
            return value if type(value) is kind else kind(value)
    elif isinstance(value, kind):  # text, a boolean, a section
        return value
    raise ConfigError(f"{name}: expected {_describe(annotated, declared)}, got {value!r}")


def _is_number(value: Any, kind: Any) -> bool:
    """Return whether it is a finite number and, if `kind` is int, a 64-bit integer. True and False are not numbers."""
    if not issubclass(type(value), Real) or type(value) is bool or not abs(value) <= LARGEST_FLOAT:
        return False
    return kind is float or (value == value // 1 and abs(value) <= LARGEST_INT)


def _within(value: Any, declared: Setting) -> bool:
    if declared.or_zero and value == 0:
        return True
    return (
        (declared.ge is None or value >= declared.ge)
        and (declared.gt is None or value > declared.gt)
        and (declared.le is None or value <= declared.le)
        and (declared.lt is None or value < declared.lt)
    )


def _parse(text: str, kind: Any) -> Any:
    """Parse a text from a command line as a TOML value; keep it as it is if a text is expected."""
    if kind is str or get_origin(kind) is Literal:
        return text
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except (ValueError, RecursionError):  # ValueError: also more digits than Python reads
        return text  # refused by `_fit`, which knows the setting's name


_NAMES: dict[Any, str] = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text"}


def _describe(kind: Any, declared: Setting) -> str:
    """Return a type and its range as text: "a whole number of at least 1"."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(repr(choice) for choice in parts)
    if origin in (Union, UnionType):
        return " or ".join(_describe(part, declared) for part in parts if part is not NoneType) + ", or None"
    if origin is tuple:
        inner = _describe(parts[0], declared)
        return f"a list, each {inner}" if parts[-1] is Ellipsis else f"a list of {len(parts)}, each {inner}"
    if origin is dict:
        return "a table"
    if dataclasses.is_dataclass(kind):
        return "a table of settings"
    return _NAMES.get(kind, str(kind)) + _range(declared)


def _range(declared: Setting) -> str:
    low, high = "", ""
    if declared.ge is not None:
        low = f"of at least {declared.ge:g}"
    elif declared.gt is not None:
        low = f"above {declared.gt:g}"
    if declared.le is not None:
        high = f"of at most {declared.le:g}" if not low else f"at most {declared.le:g}"
    elif declared.lt is not None:
        high = f"below {declared.lt:g}"
    if declared.ge is not None and declared.le is not None:
        low, high = f"from {declared.ge:g} to {declared.le:g}", ""
    words = " and ".join(word for word in (low, high) if word)
    return (f" {words}" if words else "") + (", or 0" if declared.or_zero else "")
