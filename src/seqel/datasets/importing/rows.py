"""The single pass over a table: checks every value, converts it to numbers, and writes every row to a bucket on the disk.

A row becomes a fixed-size record. Names (sessions, actions, categories) get provisional numbers in the order in which they
appear; their final numbers are known at the end. A bucket holds the rows of a range of session hashes, so that each bucket
can be sorted in memory and all of them together are in order. Memory use: one batch and the names, nothing per row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.datasets.encoding import Encoding, natural
from seqel.datasets.hashing import hash_names
from seqel.datasets.importing import cells
from seqel.datasets.importing.entities import entities
from seqel.datasets.importing.masks import Masks
from seqel.datasets.importing.vocabulary import Names, vocabulary
from seqel.datasets.magnitudes import Magnitudes
from seqel.datasets.text_columns import read_texts
from seqel.datasets.text_lengths import TextsRead
from seqel.datasets.values import Lookup
from seqel.errors import DataError
from seqel.spaces.kinds.categories import CODES_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from polars import Series

    from seqel.datasets.reading.frames import Role
    from seqel.datasets.reading.table import Batch, Table
    from seqel.datasets.schema import Schema
    from seqel.spaces.text_readers import TextReader

__all__ = ["Imported", "import_rows", "roles"]

BUCKET = 128 << 20  # approximate bytes of records in a bucket
MOST_BUCKETS = 4096
ACTIONS = 65_536  # more are probably a mistake: a column of ids or numbers, not of choices
MISSING, TERMINATED, TRUNCATED = 1, 2, 4  # bits of a record's flags: no reward, and the two ends


@dataclass
class Imported:
    """The result of the pass: the buckets and everything that is needed to read them."""

    record: np.dtype[Any]
    buckets: list[Path]
    rows: int
    encoding: Encoding
    action_codes: list[NDArray[np.int64]]  # for each action column: provisional -> final
    category_codes: list[NDArray[np.int64]]  # for each category column: provisional -> final
    sessions: Series  # provisional -> name
    session_hash: NDArray[np.uint64]  # provisional -> hash
    missing: dict[str, int]  # column -> how many values
    frequencies: dict[str, NDArray[np.int64]]  # category column -> count of each of its names, including rare ones
    action_counts: NDArray[np.int64]  # final code -> count, of the first action column
    notes: dict[str, Any] = field(default_factory=dict)


def roles(schema: Schema) -> dict[str, Role]:
    """Return the type with which each column is read first."""
    found: dict[str, Role] = dict.fromkeys(schema.columns, "text")
    found |= dict.fromkeys(schema.of_kind("number"), "number")
    found |= dict.fromkeys(schema.of_kind("vector"), "list")
    found |= dict.fromkeys(schema.of_kind("entities"), "lists")
    if isinstance(schema.mask, str):
        found[schema.mask] = "list"
    elif schema.mask is not None and isinstance(schema.action, tuple):  # a list for each action column
        found |= dict.fromkeys(schema.mask, "list")
    if schema.candidates is not None:
        found[schema.candidates] = "list"
    found[schema.reward] = "number"
    if schema.behaviour_probability:
        found[schema.behaviour_probability] = "number"
    # a column with two roles is read as text if one of them needs the text
    texts = {schema.session, *schema.action_columns, *schema.of_kind("text"), *schema.of_kind("category")}
    found |= dict.fromkeys(texts, "text")
    if schema.order and schema.order not in texts:
        # if it is also observed, it is read as text: float64 cannot distinguish current times in nanoseconds
        found[schema.order] = "text" if schema.order in schema.observation else "whole"
    return found


class _Pass:
    """The state of the pass."""

    def __init__(
        self,
        table: Table,
        schema: Schema,
        directory: Path,
        reader: TextReader,
        progress: Callable[[float], None] | None,
    ) -> None:
        self.table, self.schema, self.directory, self.progress = table, schema, directory, progress
        self.reader = reader
        self.sessions = Names(1 << 32, "")
        self.actions = {
            column: Names(
                ACTIONS,
                f"column {column!r}: expected at most {ACTIONS:,} different actions, got more: check that it is the right "
                "column. If it is, group the actions and use the group as the action",
            )
            for column in schema.action_columns
        }
        self.categories = {
            name: Names(
                CODES_LIMIT,
                f"column {name!r}: expected at most {CODES_LIMIT:,} different categories, got more: make it a text or a "
                "number in the schema, or leave it out",
            )
            for name in schema.of_kind("category")
        }
        self.hashes = np.zeros(0, np.uint64)
        self.widths: dict[str, int] = {}
        self.masks = Masks(schema)
        self.magnitudes = {name: Magnitudes(1) for name in schema.of_kind("number")}
        self.texts = {name: TextsRead(reader) for name in schema.of_kind("text")}
        self.missing = dict.fromkeys(schema.columns, 0)
        self.order_kind: str | None = None
        self.rows = 0
        self.record: np.dtype[Any] | None = None
        self.buckets: list[Path] = []

    def take(self, batch: Batch) -> None:
        """Check and encode a batch, and write its records."""
        values = self._encoded(batch)
        if self.record is None:
            self.record = np.dtype([(name, array.dtype, array.shape[1:]) for name, array in values.items()])
            estimate = len(batch.rows) / max(batch.share, 1e-9) * self.record.itemsize
            count = min(MOST_BUCKETS, max(1, round(estimate / BUCKET)))
            self.buckets = [self.directory / f"{number:04}" for number in range(count)]
        records = np.empty(len(batch.rows), self.record)
        for name, array in values.items():
            records[name] = array
        self._write(records)
        self.rows += len(batch.rows)
        if self.progress:
            self.progress(batch.share)

    def _write(self, records: NDArray[Any]) -> None:
        count = len(self.buckets)
        if count == 1:
            parts = [(0, records)]
        else:
            which = (self.hashes[records["session"]] >> np.uint64(32)) * np.uint64(count) >> np.uint64(32)
            order = np.argsort(which.astype(np.uint16), kind="stable")
            ends = np.cumsum(np.bincount(which.astype(np.int64), minlength=count))
            records = records.take(order)
            parts = [(b, records[ends[b - 1] if b else 0 : ends[b]]) for b in range(count)]
        for number, part in parts:
            if len(part):
                with self.buckets[number].open("ab") as file:
                    part.tofile(file)

    def _encoded(self, batch: Batch) -> dict[str, NDArray[Any]]:
        schema, rows, first = self.schema, batch.rows, batch.first

        def refuse(column: str, row: int, expected: str, value: Any) -> DataError:
            return self.table.refusal(first + row, column, expected, value)

        def number(column: str, expected: str) -> NDArray[np.float64]:
            found = cells.numbers(rows[column], partial(refuse, column), expected)
            self.missing[column] += int(np.isnan(found).sum())
            return found

        def names(column: str, known: Names) -> NDArray[np.int64]:
            codes = known.codes(cells.texts(rows[column], partial(refuse, column)))
            self.missing[column] += int((codes < 0).sum())
            return codes

        def flag(column: str | None) -> NDArray[np.int64]:
            if column is None:
                return np.zeros(len(rows), np.int64)
            return cells.flags(rows[column], partial(refuse, column)).astype(np.int64)

        out: dict[str, NDArray[Any]] = {}
        session = names(schema.session, self.sessions)
        if (session < 0).any():
            raise refuse(schema.session, int((session < 0).argmax()), "the name of a session", None)
        if len(self.hashes) < len(self.sessions):
            self.hashes = np.concatenate([self.hashes, hash_names(self.sessions.names[len(self.hashes) :])])
        out["session"] = session.astype(np.uint32)
        out["row"] = np.arange(first, first + len(rows))
        if schema.order is not None:
            out["whole"], out["rest"], kind = cells.orders(rows[schema.order], partial(refuse, schema.order))
            if self.order_kind not in (None, kind):
                raise refuse(schema.order, 0, f"a {self.order_kind}, as in the rows before", rows[schema.order][0])
            self.order_kind = kind
        out["action"] = np.column_stack([names(c, known) for c, known in self.actions.items()]).astype(np.int32)
        reward = number(schema.reward, "a number")
        no_reward = np.isnan(reward)
        out["reward"] = np.where(no_reward, 0.0, reward).astype(np.float32)
        out["flags"] = (
            MISSING * no_reward + TERMINATED * flag(schema.terminated) + TRUNCATED * flag(schema.truncated)
        ).astype(np.uint8)
        if schema.behaviour_probability is not None:
            column = schema.behaviour_probability
            chance = number(column, "a probability above 0, at most 1")
            # a final observation has no action, and so no probability
            bad = ((chance <= 0) | (chance > 1) | (chance.astype(np.float32) <= 0)) & (out["action"] >= 0).all(axis=1)
            if bad.any():
                row = int(bad.argmax())
                raise refuse(
                    column, row, "a probability above 0, at most 1 (empty where it is not known)", rows[column][row]
                )
            out["chance"] = chance.astype(np.float32)
        if schema.masked:
            out["mask"], out["no_mask"] = self.masks.read(rows, refuse)
        plain = schema.of_kind("number")
        if plain:
            # NaN marks a missing number in the record; values are float64 until the offsets are known
            out["numbers"] = np.column_stack([number(name, "a number") for name in plain])
            for place, name in enumerate(plain):
                self.magnitudes[name].add(out["numbers"][:, place : place + 1])
        if self.categories:
            out["categories"] = np.column_stack([names(c, known) for c, known in self.categories.items()]).astype(
                np.int32
            )
        for column in schema.of_kind("text"):
            texts = cells.texts(rows[column], partial(refuse, column))
            self.missing[column] += texts.null_count()
            self.texts[column].add(texts)
            out[f"text/{column}"] = read_texts(texts, self.reader)
            if schema.order is not None:
                # rows with the same order are compared by their whole texts, within this import only
                out[f"hash/{column}"] = texts.hash().fill_null(0).to_numpy()
        for column in schema.of_kind("vector"):
            found, none = cells.lists(
                rows[column], partial(refuse, column), self.widths.get(column), "a list of numbers"
            )
            self.missing[column] += int(none.sum())
            if column not in self.widths:
                if none.all():
                    raise refuse(column, 0, "a list of numbers in at least one of the first rows", None)
                self.widths[column] = found.shape[1]
            found[none] = np.nan
            self.magnitudes.setdefault(column, Magnitudes(found.shape[1])).add(found)
            out[f"vector/{column}"] = found.astype(np.float32)
        for column in schema.of_kind("entities"):
            known = self.widths.get(column)
            found, none = entities(rows[column], partial(refuse, column), known, schema.most_entities)
            self.missing[column] += int(none.sum())
            self.widths[column] = found.shape[2] - 1
            of_rows = self.magnitudes.setdefault(column, Magnitudes(found.shape[2] - 1))
            of_rows.add(found[found[..., -1] > 0][:, :-1])
            out[f"entities/{column}"] = found.astype(np.float32)
        return out

    def result(self) -> Imported:
        """Return the result, after the last batch."""
        if self.record is None or not self.rows:
            raise DataError(
                f"{self.table.sources[0].path} has a header and no rows: expected a table with one row per step"
                if len(self.table.sources) == 1
                else "the files have no rows: expected tables with one row per step"
            )
        actions, action_codes = zip(*map(self._actions, range(len(self.actions))), strict=True)
        vocabularies: dict[str, tuple[str, ...]] = {}
        codes = []
        for name, known in self.categories.items():
            vocabularies[name], mapping = vocabulary(known)
            codes.append(mapping)
        kinds = self.schema.observation
        encoding = Encoding(
            self.schema, actions[0], vocabularies, self.widths,
            tuple(name for name, kind in kinds.items() if kind in ("number", "vector") and self.missing[name]),
            self._offsets(), actions[1:], self.reader.name,
        )  # fmt: skip
        counts = np.zeros(len(actions[0]), np.int64)
        np.add.at(counts, action_codes[0][:-1], next(iter(self.actions.values())).counts)
        return Imported(
            self.record, self.buckets, self.rows, encoding, list(action_codes), codes,
            self.sessions.names.rechunk(), self.hashes,
            {name: count for name, count in self._missing().items() if count},
            {name: known.counts for name, known in self.categories.items()}, counts,
            {
                "texts": {name: found.to_json() for name, found in self.texts.items()},
                "resolution": {name: step for name, one in self.magnitudes.items() if (step := one.lost_step)},
            },
        )  # fmt: skip

    def _offsets(self) -> dict[str, float]:
        """Return the offsets of the number columns that need one. Raises DataError if a vector column would need one."""
        for column in (*self.schema.of_kind("vector"), *self.schema.of_kind("entities")):
            if self.magnitudes[column].indistinct:
                raise DataError(
                    f"column {column!r}: expected numbers that float32 can distinguish, got {self.magnitudes[column].span}, "
                    "which are too close together: subtract a base first (for example, count seconds since the session "
                    "began), or use number columns, which are shifted on import"
                )
        found = {name: float(self.magnitudes[name].offset[0]) for name in self.schema.of_kind("number")}
        return {name: offset for name, offset in found.items() if offset}

    def _missing(self) -> dict[str, int]:
        return self.missing | self.masks.missing

    def _actions(self, place: int) -> tuple[tuple[str, ...], NDArray[np.int64]]:
        """Return the names of one action column in order, and provisional -> final code, with a -1 at the end that maps -1 to
        itself."""
        column = self.schema.action_columns[place]
        found = self.actions[column].names.to_list()
        if not found:
            raise DataError(f"column {column!r} is empty: expected the action of each row")
        declared = None if self.schema.names is None else self.schema.names[place]
        order = tuple(natural(found)) if declared is None else declared
        known = Lookup(order)
        codes = [known.get(name) for name in found]
        unknown = [name for name, code in zip(found, codes, strict=True) if code is None]
        if unknown:
            raise DataError(
                f"column {column!r}: expected one of the schema's actions {list(order)}, got {unknown[0]!r}: "
                "add it to the schema"
            )
        width = self.masks.widths[place]
        if width is not None and width != len(order):
            raise DataError(
                f"the action mask has {width} values per row, but there are {len(order)} actions "
                f"({', '.join(order[:8])}{', ...' if len(order) > 8 else ''}): list all of them in the schema, "
                'in the order of the mask, as actions = ["...", ...]'
            )
        return order, np.array([*codes, -1], np.int64)


def import_rows(
    table: Table, schema: Schema, directory: Path, reader: TextReader, progress: Callable[[float], None] | None = None
) -> Imported:
    """Read the whole table once; the buckets go into `directory`. `reader` reads the text columns.

    Raises:
        DataError: a value does not match the schema; names its file, line and column.
    """
    table.require(schema.columns)
    one = _Pass(table, schema, directory, reader, progress)
    for batch in table.batches(roles(schema)):
        one.take(batch)
    return one.result()
