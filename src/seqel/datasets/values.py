"""Names of values in any form: a table and a service may write the same value differently.

A CSV file has True, Parquet a boolean, a service Python's True or the text "true"; 2 is also 2.0, 1e-7 is 0.0000001, and a
day may be a datetime at midnight. `as_text` returns the name that an import stores; `Lookup` finds it for every other form.
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Lookup", "as_text", "canonical", "is_missing"]

NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)?(\.\d*)?([eE][+-]?\d+)?")  # no leading zeros: 007 is a name
MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)([T ](\d\d:\d\d)(:\d\d)?(\.\d+)?(Z|[+-]\d\d:?\d\d)?)?")
NONE_TYPES = ("NAType", "NaTType")  # pandas' types for missing values, by name, so that pandas need not be imported


def is_missing(value: Any) -> bool:
    """Return whether the value is None, an empty text, NaN, NaT or pandas' NA."""
    if value is None or (isinstance(value, str) and not value):
        return True
    if isinstance(value, float | np.floating):
        return bool(math.isnan(value))
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    return type(value).__name__ in NONE_TYPES


def as_text(value: Any) -> str:
    """Return the name of a value that is not missing, as an import stores it (`cells.texts` does so for a column)."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        return str(value + 0.0)  # -0.0 becomes 0.0; float32 keeps its own shortest form
    if isinstance(value, np.datetime64):
        value = str(value)
    if isinstance(value, date) or (isinstance(value, str) and MOMENT.fullmatch(value)):
        return _moment(str(value))
    return str(value)


def canonical(text: str) -> str:
    """Return one form for all texts that may mean the same: booleans in lower case, shortest numbers, days as dates."""
    lower = text.strip().lower()
    if lower in ("true", "false"):
        return lower
    if any(mark.isdigit() for mark in lower[:3]) and NUMBER.fullmatch(lower):
        number = float(lower)
        if not math.isfinite(number):
            return text
        if number == int(number):
            # beyond 2 ** 53 a float does not hold every digit of the text
            return lower.lstrip("+") if lower.lstrip("+-").isdigit() else str(int(number))
        return repr(number)
    if MOMENT.fullmatch(text.strip()):
        found = _moment(text.strip())
        return found[:10] if found[10:] in (" 00:00:00", " 00:00") else found
    return text


def _moment(text: str) -> str:
    """2026-01-01T10:00:00.500Z -> 2026-01-01 10:00:00.5+00:00."""
    match = MOMENT.fullmatch(text)
    if match is None:
        return text
    day, rest, minutes, seconds, fraction, zone = match.groups()
    if rest is None:
        return day
    fraction = (fraction or "").rstrip("0").rstrip(".")
    if zone == "Z":
        zone = "+00:00"
    elif zone and ":" not in zone:
        zone = f"{zone[:3]}:{zone[3:]}"
    return f"{day} {minutes}{seconds or ':00'}{fraction}{zone or ''}"


class Lookup:
    """Finds the index in `names` of a value in any form."""

    def __init__(self, names: Sequence[str]) -> None:
        self._exact = {name: place for place, name in enumerate(names)}
        self._alike: dict[str, int | None] = {}
        for name, place in self._exact.items():
            form = canonical(name)
            # "1.1" and "1.10" may be two versions: if canonical forms collide, only the exact text counts
            self._alike[form] = None if form in self._alike else place

    def get(self, value: Any) -> int | None:
        """Return the index of the value; None if it is missing or unknown."""
        if is_missing(value):
            return None
        text = as_text(value)
        found = self._exact.get(text)
        if found is None:
            found = self._alike.get(canonical(text))
        if found is None and isinstance(value, datetime | np.datetime64):
            found = self._exact.get(canonical(text))
        if found is None and isinstance(value, float) and math.isfinite(value):
            with np.errstate(over="ignore"):
                narrow = np.float32(value)
            if float(narrow) == value:  # a float32 column, read as Python's float
                found = self._alike.get(canonical(as_text(narrow)))
        return found
