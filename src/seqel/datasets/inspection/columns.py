"""Describes a column of a table by its values, so that its role can be guessed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seqel.extras import require

if TYPE_CHECKING:
    from polars import DataFrame, Series

__all__ = ["Column", "describe"]


@dataclass(frozen=True)
class Column:
    name: str
    kind: str  # number, flag, text, date, list (of numbers), lists (of such lists), names (list of names), empty
    whole: bool
    distinct: int
    rows: int
    longest: float  # mean length of a text
    blanks: float  # mean number of blanks in a text

    @property
    def words(self) -> list[str]:
        """The words of the name: systemAct and system_act give system, act."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[\s_\-.]+", " ", self.name).lower().split()

    @property
    def key(self) -> str:
        return re.sub(r"[\s_\-.]", "", self.name).lower()


def describe(rows: DataFrame, name: str) -> Column:
    """Describe the column of this name by the given rows."""
    pl = require("polars")
    column: Series = rows[name]
    if column.dtype == pl.String:
        column = column.replace("", None)
    there = column.drop_nulls()
    kind, whole = "empty", False
    length = blanks = 0.0
    if len(there):
        kind, whole = kind_of(there)
        if kind == "text":
            texts = there.cast(pl.String)
            length = float(np.mean(texts.str.len_chars().to_numpy()))
            blanks = float(np.mean(texts.str.count_matches(" ", literal=True).to_numpy()))
    distinct = 0 if kind in ("list", "lists", "names", "empty") else there.n_unique()
    return Column(name, kind, whole, distinct, len(there), length, blanks)


def kind_of(there: Series) -> tuple[str, bool]:
    pl = require("polars")
    if there.dtype in (pl.Date, pl.Datetime):
        return "date", False
    if there.dtype in (pl.List, pl.Array):
        inner = getattr(there.dtype, "inner", None)
        return ("names" if inner == pl.String else "lists" if inner in (pl.List, pl.Array) else "list"), False
    if there.dtype == pl.Boolean:
        return "flag", True
    if there.dtype.is_numeric():
        real = there.cast(pl.Float64)
        return "number", bool((real == real.floor()).all())
    if there.dtype != pl.String:
        return "empty", False
    text = there.str.strip_chars()
    real = text.cast(pl.Float64, strict=False)
    if not real.has_nulls():
        return "number", bool((real == real.floor()).all())
    if text.str.to_lowercase().is_in(["true", "false", "yes", "no"]).all():
        return "flag", True
    if text.str.contains(r"^\[.*\]$").all():
        if text.str.contains(r"^\[\s*(\[|\])").all():
            return "lists", False
        return ("names" if text.str.contains('"', literal=True).all() else "list"), False
    if text.str.contains(r"^\d{4}-\d\d-\d\d").all():
        return "date", False
    return "text", False
