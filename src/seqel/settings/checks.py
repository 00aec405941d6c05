"""Checks values against the annotation and the declared range of their setting, and describes both in words."""

from __future__ import annotations

import dataclasses
import sys
from numbers import Real
from typing import Any, Literal, get_args, get_origin

from seqel.errors import ConfigError
from seqel.settings.declaration import Setting, declared, dotted, fields

__all__ = ["check", "describe"]

LARGEST_INT = 2**63 - 1  # TOML's and torch's integers have 64 bits
LARGEST_FLOAT = sys.float_info.max


def check(config: Any, prefix: str = "") -> None:
    """Check every setting of a frozen dataclass against its annotation and its declared range.

    Equivalent values are stored in the annotated type: 3 as 3.0 if a float is expected, a list as a tuple, a numpy scalar as
    a Python number.

    Raises:
        ConfigError: the message names the setting with `prefix`, what was expected and what was got.
    """
    for field, kind in fields(config.__class__):
        value = getattr(config, field.name)
        fitting = _fit(value, kind, declared(field), dotted(prefix, field.name))
        if fitting is not value:
            object.__setattr__(config, field.name, fitting)


def _fit(value: Any, kind: Any, facts: Setting, name: str) -> Any:
    """Convert the value to the type `kind`. Raises ConfigError if it has another type or is outside the range."""
    for word, meant in facts.words:
        if value == word or (type(value) is not bool and value == meant):
            return meant
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        if isinstance(value, str | int | bool) and value in parts:
            return value
    elif origin is tuple:
        many = parts[-1] is Ellipsis
        if isinstance(value, list | tuple) and (many or len(value) == len(parts)):
            kinds = (parts[0],) * len(value) if many else parts
            pairs = enumerate(zip(value, kinds, strict=True))
            return tuple(_fit(part, inner, facts, f"{name}[{n}]") for n, (part, inner) in pairs)
    elif origin is dict:
        if isinstance(value, dict) and all(isinstance(key, str) for key in value):
            return value
    elif kind in (int, float) and isinstance(value, int) and abs(value) > LARGEST_INT:
        expected = f"{describe(kind, facts)} and less than 2^63"
        raise ConfigError(f"{name}: expected {expected}, got a number of {value.bit_length()} bits")
    elif kind in (int, float):
        if _is_number(value, kind) and _within(value, facts):
            return value if type(value) is kind else kind(value)
    elif isinstance(value, kind):  # text, a boolean, a section
        return value
    raise ConfigError(f"{name}: expected {describe(kind, facts)}, got {value!r}")


def _is_number(value: Any, kind: Any) -> bool:
    """Return whether it is a finite number and, if `kind` is int, a 64-bit integer. True and False are not numbers."""
    if not issubclass(type(value), Real) or type(value) is bool or not abs(value) <= LARGEST_FLOAT:
        return False
    return kind is float or (value == value // 1 and abs(value) <= LARGEST_INT)


def _within(value: Any, facts: Setting) -> bool:
    if facts.or_zero and value == 0:
        return True
    return (
        (facts.ge is None or value >= facts.ge)
        and (facts.gt is None or value > facts.gt)
        and (facts.le is None or value <= facts.le)
        and (facts.lt is None or value < facts.lt)
    )


_NAMES: dict[Any, str] = {int: "an integer", float: "a finite number", bool: "true or false", str: "a string"}


def describe(kind: Any, facts: Setting) -> str:
    """Return a type and its range as text: "an integer of at least 1"."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(repr(choice) for choice in parts)
    if origin is tuple:
        inner = describe(parts[0], facts)
        return f"a list, each {inner}" if parts[-1] is Ellipsis else f"a list of {len(parts)}, each {inner}"
    if origin is dict:
        return "a table"
    if dataclasses.is_dataclass(kind):
        return "a table of settings"
    return _NAMES.get(kind, str(kind)) + _range(facts)


def _range(facts: Setting) -> str:
    low, high = "", ""
    if facts.ge is not None:
        low = f"of at least {facts.ge:g}"
    elif facts.gt is not None:
        low = f"above {facts.gt:g}"
    if facts.le is not None:
        high = f"of at most {facts.le:g}" if not low else f"at most {facts.le:g}"
    elif facts.lt is not None:
        high = f"below {facts.lt:g}"
    if facts.ge is not None and facts.le is not None:
        low, high = f"from {facts.ge:g} to {facts.le:g}", ""
    words = " and ".join(word for word in (low, high) if word)
    special = (", or 0" if facts.or_zero else "") + "".join(f", or {word!r}" for word, _ in facts.words)
    return (f" {words}" if words else "") + special
