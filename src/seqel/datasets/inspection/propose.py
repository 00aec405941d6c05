"""A schema for a table that has none yet: a guess from names, types and how many different values there are.

It is a starting point to read and correct. Everything that was guessed on weak grounds is said in `Proposal.unsure`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.datasets.reading.table import Table, expand
from seqel.datasets.schema import Schema
from seqel.errors import DataError
from seqel.extras import require

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from polars import DataFrame, Series

__all__ = ["Proposal", "propose"]

SAMPLE = 20_000  # rows that are looked at
WORDS = 2  # blanks in the mean value from which on many different ones are sentences, not names
CODES = 12  # whole numbers with at most so many different values are read as categories
LIKE = {  # names, the most telling first; compared without case, "_", "-" and blanks
    "session": (
        "sessionid session episodeid episode trajectoryid trajectory conversationid conversation dialogueid dialogue "
        "visitid visit tripid trip userid user customerid customer patientid patient"
    ),
    "order": "step stepid timestep turn t time timestamp datetime date order position seq sequence index",
    "action": (
        "action actionid act a decision choice chosen arm treatment shown recommended recommendation offer itemid item intent"
    ),
    "reward": "reward rewards r payoff score rating clicked click revenue profit outcome gain",
    "terminated": "terminated terminal isterminal done end",
    "truncated": "truncated timeout timelimit censored",
    "behaviour_probability": (
        "behaviourprobability behaviorprobability behaviourprob behaviorprob propensity propensityscore actionprob "
        "actionprobability pscore probability prob"
    ),
    "mask": "actionmask mask legalactions availableactions",
}


@dataclass(frozen=True)
class Proposal:
    """A schema, and what to look at before it is believed."""

    schema: Schema
    unsure: list[str]


@dataclass(frozen=True)
class _Column:
    name: str
    kind: str  # number, flag, text, date, list (of numbers), names (a list of them), empty
    whole: bool
    distinct: int
    rows: int
    longest: float  # mean length of a text
    blanks: float  # in it, mean

    @property
    def key(self) -> str:
        return re.sub(r"[\s_\-.]", "", self.name).lower()


def propose(files: str | Path | Sequence[str | Path]) -> Proposal:
    """Look at the first rows and guess.

    Raises:
        DataError: the table cannot be read, or no column can be the session, the action or the reward; says which columns
            there are.
    """
    table = Table(expand(files))
    names = table.columns
    batch = next(table.batches(dict.fromkeys(names, "text")), None)
    if batch is None:
        raise DataError(f"{table.sources[0].path} has no rows: expected a table with a row a step")
    columns = [_described(batch.rows.head(SAMPLE), name) for name in names]
    left = {column.name: column for column in columns}
    unsure: list[str] = []
    found: dict[str, Any] = {}
    for role in ("session", "reward", "order", "terminated", "truncated", "behaviour_probability", "mask", "action"):
        name = _pick(role, left, unsure)
        if name is not None:
            found[role] = name
            del left[name]
    for role in ("session", "action", "reward"):
        if role not in found:
            raise DataError(
                f"{table.sources[0].path}: no column looks like the {role}; the columns are {', '.join(names)}. Write a "
                f"schema by hand: session, action and reward name a column each, [observation] the columns to decide by"
            )
    if "order" not in found:
        unsure.append("no column looks like an order (step, time): the rows are taken in the order of the file")
    if "terminated" not in found and "truncated" not in found:
        unsure.append('no column says how a session ends: ends = "terminated" takes each as over with its last row')
    observation: dict[str, str] = {}
    for name, column in left.items():
        kind, why = _observed(column)
        if kind is not None:
            observation[name] = kind
        if why:
            unsure.append(f"{name}: {why}")
    if not observation:
        raise DataError(
            f"{table.sources[0].path}: no column is left to observe beside {', '.join(map(str, found.values()))}: "
            "without one there is nothing to decide by"
        )
    return Proposal(Schema(**found, observation=observation), unsure)


def _described(rows: DataFrame, name: str) -> _Column:
    pl = require("polars")
    column: Series = rows[name]
    if column.dtype == pl.String:
        column = column.replace("", None)
    there = column.drop_nulls()
    kind, whole = "empty", False
    length = blanks = 0.0
    if len(there):
        kind, whole = _kind(there)
        if kind == "text":
            texts = there.cast(pl.String)
            length = float(np.mean(texts.str.len_chars().to_numpy()))
            blanks = float(np.mean(texts.str.count_matches(" ", literal=True).to_numpy()))
    distinct = 0 if kind in ("list", "names", "empty") else there.n_unique()
    return _Column(name, kind, whole, distinct, len(there), length, blanks)


def _kind(there: Series) -> tuple[str, bool]:
    pl = require("polars")
    if there.dtype in (pl.Date, pl.Datetime):
        return "date", False
    if there.dtype in (pl.List, pl.Array):
        return ("names" if getattr(there.dtype, "inner", None) == pl.String else "list"), False
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
        return ("names" if text.str.contains('"', literal=True).all() else "list"), False
    if text.str.contains(r"^\d{4}-\d\d-\d\d").all():
        return "date", False
    return "text", False


def _pick(role: str, left: dict[str, _Column], unsure: list[str]) -> str | None:
    """The column that looks most like this role."""
    telling = LIKE[role].split()
    fits = {name: column for name, column in left.items() if _possible(role, column)}
    ranked = sorted((telling.index(column.key), name) for name, column in fits.items() if column.key in telling)
    if ranked:
        if left[ranked[0][1]].key in ("probability", "prob"):
            unsure.append(
                f"{role}: {ranked[0][1]} was taken; if it is no probability of the recorded action, observe it"
            )
        if len(ranked) > 1:
            unsure.append(f"{role}: {ranked[0][1]} was taken, {ranked[1][1]} looks like it too")
        return ranked[0][1]
    if role in ("session", "action", "reward", "order"):
        word = next((one for one in telling if len(one) > 3), role)
        for name, column in fits.items():
            if any(len(one) > 3 and one in column.key for one in telling):
                unsure.append(f"{role}: {name} was taken for a name that only resembles {word!r}")
                return name
    return None


def _possible(role: str, column: _Column) -> bool:
    if column.kind == "empty":
        return False
    if role == "session":
        return column.kind in ("text", "number") and column.distinct < max(2, column.rows)
    if role == "order":
        return column.kind in ("number", "date")
    if role == "reward":
        return column.kind in ("number", "flag")
    if role in ("terminated", "truncated"):
        return column.kind == "flag" or (column.kind == "number" and column.whole and column.distinct <= 2)
    if role == "behaviour_probability":
        return column.kind == "number"
    if role == "mask":
        return column.kind == "list"
    return column.kind in ("text", "flag") or (column.kind == "number" and column.whole)


def _observed(column: _Column) -> tuple[str | None, str]:
    """As what a column is observed, None for not at all, and what is unsure about that."""
    if column.key.startswith("next"):
        return None, "left out: by its name it is known only after the action"
    if column.kind == "empty":
        return None, "left out: it is empty, or of a type that is not read"
    if column.kind == "date":
        return None, "left out: a date; derive numbers from it (hour, days since), if it matters"
    if column.kind == "names":
        return (
            None,
            'left out: a list of names; if they are the actions that there were, say candidates and actions = ["...", ...]',
        )
    if column.kind == "list":
        return "vector", ""
    if column.distinct == 1:
        return None, "left out: it has a single value in the first rows"
    if column.kind == "flag":
        return "category", ""
    if column.kind == "number":
        if column.whole and column.distinct <= CODES:
            return (
                "category",
                f"{column.distinct} different whole numbers: read as categories; make it a number if it counts",
            )
        if column.whole and column.distinct == column.rows > CODES and column.key.endswith("id"):
            return None, "left out: a different number in every row, an id by its name"
        return "number", ""
    if column.distinct > 0.5 * column.rows and column.longest <= 40 and column.key.endswith("id"):
        return None, "left out: almost a different value in every row, an id by its name"
    sentences = column.blanks >= WORDS and column.distinct > CODES
    if column.longest > 24 or sentences or column.distinct > 0.5 * column.rows > CODES:
        return "text", "read as text; make it a category if its values are names that repeat"
    return "category", ""
