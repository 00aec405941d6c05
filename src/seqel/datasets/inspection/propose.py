"""Proposes a schema for a table, guessed from column names, types and numbers of distinct values.

It is a starting point to read and correct. `Proposal.unsure` lists all uncertain guesses.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seqel.datasets.inspection.columns import describe
from seqel.datasets.inspection.roles import REQUIRED, is_possible, observed_as, pick_column
from seqel.datasets.reading.table import Table, expand
from seqel.datasets.schema import Schema, nearest
from seqel.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Draft", "Proposal", "draft", "propose"]

SAMPLE = 20_000  # rows that are read
OPEN = "?"  # in a written schema, marks a role that is still to be decided


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
    columns = [describe(batch.rows.head(SAMPLE), name) for name in names]
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
        picked = None if role in found else pick_column(role, left, unsure)
        if picked is not None:
            found[role] = picked
            del left[picked]
    open_ = {
        role: [name for name, column in left.items() if is_possible(role, column)]
        for role in REQUIRED
        if role not in found
    }
    if "order" not in found:
        unsure.append("no column looks like an order (step, time): the rows are taken in the order of the file")
    observation: dict[str, str] = {}
    for name, column in left.items():
        kind, why = observed_as(column)
        if kind is not None:
            observation[name] = kind
        if why:
            unsure.append(f"{name}: {why}")
    if not observation:
        unsure.append(
            "no column is left to observe: the agent only sees the history of actions and rewards. If the actions are items "
            "that users chose, `--preset next-item` learns to rank them"
        )
    ends = "terminated"
    if "terminated" not in found and "truncated" not in found:
        ends = "terminated" if observation else "truncated"
        means = "each is over after its last row" if observation else "each could have continued after its last row"
        unsure.append(f'no column says how a session ends: ends = "{ends}" means that {means}')
    return Draft(found, observation, open_, unsure, ends)
