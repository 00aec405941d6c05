"""Proposes a schema for a table, guessed from column names, types and numbers of distinct values.

It is a starting point to read and correct. `Proposal.unsure` lists all uncertain guesses.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seqel.datasets.reading.table import Table, expand
from seqel.datasets.schema import Schema, nearest
from seqel.errors import DataError
from seqel.extras import require

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from polars import DataFrame, Series

__all__ = ["Draft", "Proposal", "draft", "propose"]

SAMPLE = 20_000  # rows that are read
WORDS = 2  # with this many blanks in the mean value, many distinct values are sentences, not names
CODES = 12  # integers with at most this many distinct values are read as categories
LIKE = {  # names, the most specific first; compared without case, "_", "-" and blanks
    "session": (
        "sessionid session episodeid episode trajectoryid trajectory conversationid conversation dialogueid dialogue "
        "visitid visit tripid trip userid user customerid customer patientid patient studentid student learnerid learner "
        "playerid player accountid account ticker symbol stock"
    ),
    "order": "step stepid timestep turn t time timestamp datetime date order position seq sequence index",
    "action": (
        "action actionid act a decision choice chosen arm treatment shown recommended recommendation offer systemact "
        "agentact systemaction agentaction response itemid item productid product bought purchased skillid skill label intent"
    ),
    "reward": (
        "reward rewards r payoff score rating stars clicked click bought purchased converted conversion correct iscorrect "
        "revenue profit pnl profitandloss outcome gain"
    ),
    "terminated": "terminated terminal isterminal done end",
    "truncated": "truncated timeout timelimit censored",
    "behaviour_probability": (
        "behaviourprobability behaviorprobability behaviourprob behaviorprob propensity propensityscore actionprob "
        "actionprobability pscore probability prob"
    ),
    "mask": "actionmask mask legalactions availableactions",
}


REQUIRED = ("session", "action", "reward")
OPEN = "?"  # in a written schema, marks a role that is still to be decided
OTHERS = {
    "user",
    "customer",
    "client",
    "caller",
    "student",
    "patient",
    "player",
    "next",
}  # their actions are not the agent's


@dataclass(frozen=True)
class Proposal:
    """A proposed schema, and the guesses to check before it is used."""

    schema: Schema
    unsure: list[str]


@dataclass(frozen=True)
class Draft:
    """The part of a schema that can be guessed."""

    roles: dict[str, str]  # role -> column
    observation: dict[str, str]
    open: dict[str, list[str]]  # role that has to be filled in -> possible columns
    unsure: list[str]
    ends: str = "terminated"  # how a session ends, if no column says so

    @property
    def schema(self) -> Schema | None:
        """Return the schema; None while a role is open."""
        if self.open:
            return None
        return Schema(**self.roles, ends=self.ends, observation=self.observation)  # type: ignore[arg-type]

    def to_toml(self) -> str:
        """Return the schema as TOML; open roles are "?", with the possible columns in a comment."""
        if (whole := self.schema) is not None:
            return whole.to_toml()
        lines = ['# Replace each "?" by the name of a column.']
        for role in dict.fromkeys((*REQUIRED, *self.roles)):
            if role in self.open:
                choices = ", ".join(self.open[role]) or "no column looks possible"
                lines.append(f"{role} = {json.dumps(OPEN)}  # one of: {choices}")
            else:
                lines.append(f"{role} = {json.dumps(self.roles[role], ensure_ascii=False)}")
        if self.ends != "terminated":
            lines.append(f"ends = {json.dumps(self.ends)}")
        lines += ["", "[observation]  # remove the columns that are named above"]
        lines += [
            f"{json.dumps(name, ensure_ascii=False)} = {json.dumps(kind)}" for name, kind in self.observation.items()
        ]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class _Column:
    name: str
    kind: str  # number, flag, text, date, list (of numbers), lists (of such lists), names (list of names),
    # objects (list of JSON objects), empty
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


def propose(files: str | Path | Sequence[str | Path], given: Mapping[str, str] | None = None) -> Proposal:
    """Guess a schema from the first rows. given: role -> column, for the roles that are known.

    Raises:
        DataError: as `draft`; or no column can be the session, the action or the reward; the message lists the columns.
    """
    found = draft(files, given)
    if found.schema is None:
        table = Table(expand(files))
        role, choices = next(iter(found.open.items()))
        raise DataError(
            f"{table.sources[0].path}: no column looks like the {role}; the columns are {', '.join(table.columns)}. "
            f"Name it with --{role} COLUMN{' (one of ' + ', '.join(choices) + ')' if choices else ''}, or write a schema by "
            "hand: session, action and reward each name a column, [observation] lists the columns that the agent sees"
        )
    return Proposal(found.schema, found.unsure)


def draft(files: str | Path | Sequence[str | Path], given: Mapping[str, str] | None = None) -> Draft:
    """Guess as `propose` does, but leave a role open if no column looks like it.

    Raises:
        DataError: the table cannot be read, or lacks a column named in `given`.
    """
    table = Table(expand(files))
    names = table.columns
    batch = next(table.batches(dict.fromkeys(names, "text")), None)
    if batch is None:
        raise DataError(f"{table.sources[0].path} has no rows: expected a table with one row per step")
    columns = [_described(batch.rows.head(SAMPLE), name) for name in names]
    left = {column.name: column for column in columns}
    unsure: list[str] = []
    found: dict[str, str] = {}
    for role, name in (given or {}).items():
        if name not in left:
            raise DataError(
                f"{table.sources[0].path}: --{role}: there is no column {name!r}{nearest(name, names)}; it has "
                f"{', '.join(names)}"
                if name not in names
                else f"--{role}: column {name!r} has another role already"
            )
        found[role] = name
        del left[name]
    for role in ("session", "reward", "order", "terminated", "truncated", "behaviour_probability", "mask", "action"):
        picked = None if role in found else _pick(role, left, unsure)
        if picked is None and role == "order" and "order" not in found:
            picked = _only_date(left, unsure)
        if picked is not None:
            found[role] = picked
            del left[picked]
    open_ = {
        role: [name for name, column in left.items() if _possible(role, column)]
        for role in REQUIRED
        if role not in found
    }
    if "order" not in found:
        unsure.append("no column looks like an order (step, time): the rows are taken in the order of the file")
    observation: dict[str, str] = {}
    for name, column in left.items():
        kind, why = _observed(column)
        if kind is not None:
            observation[name] = kind
        if why:
            unsure.append(f"{name}: {why}")
    if not observation:
        unsure.append(
            "no column is left to observe: the agent only sees the history of actions and rewards. If the actions are items "
            "that users chose, `--preset next-item` learns to rank them"
        )
    if "reward" in open_ and {"session", "action"} <= found.keys():
        unsure.append(
            f"no column looks like a reward: if {found['action']} is an item that a user chose, "
            "seqel.ranking.read_interactions reads the table without one, and so does recipes/next_items.py"
        )
    ends = "terminated"
    if "terminated" not in found and "truncated" not in found:
        ends = "terminated" if observation else "truncated"
        means = "each is over after its last row" if observation else "each could have continued after its last row"
        unsure.append(f'no column says how a session ends: ends = "{ends}" means that {means}')
    return Draft(found, observation, open_, unsure, ends)


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
    distinct = 0 if kind in ("list", "lists", "names", "empty") else there.n_unique()
    return _Column(name, kind, whole, distinct, len(there), length, blanks)


def _kind(there: Series) -> tuple[str, bool]:
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
    if text.str.contains(r"^\[\s*\{.*\]$").all():
        return "objects", False
    if text.str.contains(r"^\[.*\]$").all():
        if text.str.contains(r"^\[\s*(\[|\])").all():
            return "lists", False
        return ("names" if text.str.contains('"', literal=True).all() else "list"), False
    if text.str.contains(r"^\d{4}-\d\d-\d\d").all():
        return "date", False
    return "text", False


def _pick(role: str, left: dict[str, _Column], unsure: list[str]) -> str | None:
    """Return the column that looks most like this role."""
    telling = LIKE[role].split()
    fits = {name: column for name, column in left.items() if _possible(role, column)}
    ranked = sorted((telling.index(column.key), name) for name, column in fits.items() if column.key in telling)
    if ranked:
        if left[ranked[0][1]].key in ("probability", "prob"):
            unsure.append(
                f"{role}: {ranked[0][1]} was chosen; if it is not the probability of the recorded action, observe it"
            )
        if len(ranked) > 1:
            unsure.append(f"{role}: {ranked[0][1]} was chosen, but {ranked[1][1]} looks like it too")
        return ranked[0][1]
    if role in ("session", "action", "reward", "order"):
        # a name that ends in a specific word ("system_act"), before one that only contains it ("intention_text")
        alike: list[tuple[int, int, str]] = []
        for name, column in fits.items():
            if role == "action" and OTHERS & set(column.words):
                continue  # what the user wants is observed, what the system does is the action
            for rank, one in enumerate(telling):
                if one in column.words and len(one) > 1:
                    alike.append((0 if column.words[-1] == one else 1, rank, name))
                elif len(one) > 3 and one in column.key:
                    alike.append((2, rank, name))
        if alike:
            _, rank, name = min(alike)
            others = list(dict.fromkeys(one for _, _, one in sorted(alike) if one != name))
            more = f", and so does {', '.join(others[:3])}" if others else ""
            unsure.append(f"{role}: {name} was chosen, but its name only resembles {telling[rank]!r}{more}")
            return name
    return None


def _only_date(left: dict[str, _Column], unsure: list[str]) -> str | None:
    """Return the one column of dates, whatever its name."""
    dates = [name for name, column in left.items() if column.kind == "date" and not column.key.startswith("next")]
    if len(dates) != 1:
        return None
    unsure.append(f"order: {dates[0]} was chosen, the only column of dates")
    return dates[0]


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
    """Return the kind as which a column is observed (None: not observed), and what is uncertain about it."""
    if column.key.startswith("next"):
        return None, "left out: going by its name, it is known only after the action"
    if column.kind == "empty":
        return None, "left out: it is empty, or has a type that is not supported"
    if column.kind == "date":
        return None, "left out: a date; derive numbers from it (hour, days since), if it matters"
    if column.kind == "names":
        return (
            None,
            'left out: a list of names; if these are the available actions, set candidates and actions = ["...", ...]',
        )
    if column.kind == "objects":
        why = "left out: a list of objects; if these are turns of conversations, make a table of them: seqel data dialogues"
        return None, why
    if column.kind == "list":
        return "vector", ""
    if column.kind == "lists":
        return "entities", ""
    if column.distinct == 1:
        return None, "left out: it has a single value in the first rows"
    if column.kind == "flag":
        return "category", ""
    if column.kind == "number":
        if column.whole and column.distinct <= CODES:
            return (
                "category",
                f"{column.distinct} different integers: read as categories; make it a number if it is a quantity",
            )
        if column.whole and column.distinct == column.rows > CODES and column.key.endswith("id"):
            return None, "left out: a different number in every row, and the name of an id"
        return "number", ""
    if column.distinct > 0.5 * column.rows and column.longest <= 40 and column.key.endswith("id"):
        return None, "left out: a different value in almost every row, and the name of an id"
    sentences = column.blanks >= WORDS and column.distinct > CODES
    if column.longest > 24 or sentences or column.distinct > 0.5 * column.rows > CODES:
        return "text", "read as text; make it a category if its values are names that occur repeatedly"
    return "category", ""
