"""Reads comma-separated values: fast if they are valid, slowly to find out what is wrong.

A chunk of the file is read by polars with the types that the columns should have. If that fails, it is read as plain text,
so that `cells` can find and name the invalid value; and if even that fails, record by record.
"""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.datasets.reading.chunks import Chunk, chunks, count, share
from seqel.datasets.reading.frames import Frame, Role, lines, not_utf8
from seqel.errors import DataError
from seqel.extras import require

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from polars import DataFrame

__all__ = ["CsvSource"]

SEPARATORS = (",", ";", "\t", "|")
NAMED_SEPARATOR = re.compile(r'"?sep=([,;\t|])"?', re.IGNORECASE)


class CsvSource:
    """Comma-separated values (also semicolons, tabs, bars), with a header."""

    unit = "line"

    def __init__(self, path: Path) -> None:
        self.path = path
        first = next(chunks(path, quotes=True), None)
        if first is None or not first.data.strip():
            raise DataError(f"{path} is empty: expected a header and one row per step")
        head, self._offset, self._line = self._header(first)
        named = NAMED_SEPARATOR.fullmatch(head)
        if named:  # Excel may write the separator before the header
            after = Chunk(first.data[self._offset - first.offset :], self._line, self._offset)
            if not after.data.strip():
                raise DataError(f"{path} has a separator and nothing else: expected a header and one row per step")
            head, self._offset, self._line = self._header(after)
            self.separator = named[1]
        else:
            self.separator = max(SEPARATORS, key=lambda mark: (head.count(mark), mark == ","))
        self.columns = next(csv.reader(io.StringIO(head, newline=""), delimiter=self.separator))
        self.columns = [name.strip() for name in self.columns]
        self._types: dict[str, Any] = {}

    def _header(self, first: Chunk) -> tuple[str, int, int]:
        """Return the text of the header, and where the rows begin: offset and line."""
        end = 0
        while True:
            end = first.data.find(b"\n", end) + 1 or len(first.data)
            head = first.data[:end]
            if head.strip() and not head.count(b'"') % 2:
                break
        try:
            text = head.decode().strip("\r\n")
        except UnicodeDecodeError as error:
            raise not_utf8(self.path, first.line, "", error) from error
        return text, first.offset + end, first.line + head.count(b"\n")

    def frames(self, roles: Mapping[str, Role]) -> Iterator[Frame]:
        self._types = {}
        for name in roles:
            if self.columns.count(name) > 1:
                raise DataError(f"{self.path}, line 1: the header has {name!r} twice: rename one of them")
        for piece in chunks(self.path, quotes=True, offset=self._offset, line=self._line):
            rows = self._frame(piece, roles)
            if rows.height:
                yield Frame(rows, piece.line, piece.offset, share(self.path, piece))

    def _frame(self, piece: Chunk, roles: Mapping[str, Role]) -> DataFrame:
        pl = require("polars")
        starts, separators = _structure(piece.data, self.separator)
        if separators != len(starts) * (len(self.columns) - 1):
            raise self._explain(piece) or self._unread(piece, "the rows have different numbers of values")
        data = piece.data if len(starts) == lines(piece.data) else _without_blank(piece.data)
        asked = {"number": pl.Float64, "whole": pl.Int64}
        wanted = {self.columns.index(name): name for name in roles}
        types = self._types or {name: asked.get(role, pl.String) for name, role in roles.items()}
        for attempt in (types, dict.fromkeys(roles, pl.String)):
            schema = {f"column_{i + 1}": attempt.get(wanted.get(i, ""), pl.String) for i in range(len(self.columns))}
            try:
                rows: DataFrame = pl.read_csv(
                    data, has_header=False, schema=schema, columns=sorted(wanted), separator=self.separator,
                    empty_string_is_null=True, glob=False,
                )  # fmt: skip
            except pl.exceptions.PolarsError as error:
                if attempt is types:
                    # Orders that are not integers would fail again and again; an invalid number ends the import.
                    self._types = {name: pl.String if found == pl.Int64 else found for name, found in types.items()}
                    continue
                raise self._explain(piece) or self._unread(piece, str(error).split("\n")[0]) from error
            if rows.height != len(starts):
                break
            return rows.rename({f"column_{i + 1}": name for i, name in wanted.items()}).select(list(roles))
        raise self._explain(piece) or self._unread(
            piece, f"expected {len(starts):,} rows, but polars finds another number"
        )

    def _unread(self, piece: Chunk, reason: str) -> DataError:
        last = piece.line + max(0, lines(piece.data) - 1)
        return DataError(f"{self.path}, somewhere in lines {piece.line:,} to {last:,}: not a valid CSV: {reason}")

    def _explain(self, piece: Chunk) -> DataError | None:
        """Find the first invalid record (slowly); return its error, or None."""
        try:
            text = piece.data.decode()
        except UnicodeDecodeError as error:
            line = piece.data.count(b"\n", 0, error.start)
            begin = piece.data.rfind(b"\n", 0, error.start) + 1
            field = piece.data.count(self.separator.encode(), begin, error.start)
            column = f", column {self.columns[field]!r}" if field < len(self.columns) else ""
            return not_utf8(self.path, piece.line + line, column, error)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=self.separator, strict=True)
        csv.field_size_limit(1 << 30)
        line = piece.line
        try:
            for record in reader:
                if record and len(record) != len(self.columns):
                    return DataError(
                        f"{self.path}, line {line}: expected {len(self.columns)} values ({', '.join(self.columns)}), "
                        f"got {len(record)}: {self.separator.join(record)[:120]!r}; a value that contains "
                        f"{self.separator!r} must be in double quotes"
                    )
                line = piece.line + reader.line_num
        except csv.Error as error:
            return DataError(f"{self.path}, line {line}: not a valid CSV: {error}")
        for number, raw in enumerate(piece.data.split(b"\n")):
            for value in raw.split(self.separator.encode()):  # `5" disk`: csv reads it, polars does not
                if b'"' in value.strip(b"\r").strip(b'"') and not value.startswith(b'"'):
                    shown = value.decode(errors="replace")[:80]
                    return DataError(
                        f"{self.path}, line {piece.line + number}: expected a value that contains double quotes to be in "
                        f"double quotes, with each inner quote written twice, got {shown!r}"
                    )
        return None

    def locate(self, frame: Frame, row: int) -> int:
        for piece in chunks(self.path, quotes=True, offset=frame.offset, line=frame.line):
            starts, _ = _structure(piece.data, self.separator)
            if row < len(starts):
                return piece.line + piece.data.count(b"\n", 0, int(starts[row]))
            row -= len(starts)
        return 0


def _structure(data: bytes, separator: str) -> tuple[NDArray[np.int64], int]:
    """Return where each record that is not a blank line begins, (records,) int64; and how many separators end a value."""
    array = np.frombuffer(data, np.uint8)
    ends = array == ord("\n")
    if b'"' in data:
        outside = (np.cumsum(array == ord('"'), dtype=np.uint8) & 1) == 0
        ends &= outside
        marks = int(np.count_nonzero((array == ord(separator)) & outside))
    else:
        marks = count(data, separator.encode())
    last = np.flatnonzero(ends)
    starts = np.concatenate([np.zeros(1, np.int64), last + 1])
    stops = np.concatenate([last, [len(array)]])
    if stops[-1] == starts[-1]:
        starts, stops = starts[:-1], stops[:-1]
    size = stops - starts
    blank = (size == 0) | ((size == 1) & (array[np.minimum(starts, len(array) - 1)] == ord("\r")))
    return starts[~blank], marks


def _without_blank(data: bytes) -> bytes:
    """Remove blank lines between records; blank lines inside quotes are kept."""
    array = np.frombuffer(data, np.uint8)
    ends = array == ord("\n")
    if b'"' in data:
        ends &= (np.cumsum(array == ord('"'), dtype=np.uint8) & 1) == 0
    last = np.flatnonzero(ends)
    starts = np.concatenate([np.zeros(1, np.int64), last + 1])[: len(last)]
    size = last - starts
    blank = (size == 0) | ((size == 1) & (array[starts] == ord("\r")))
    keep = np.ones(len(array), bool)
    keep[last[blank]] = False
    returns = starts[blank & (size == 1)]
    keep[returns] = False
    tail = data[int(last[-1]) + 1 :] if len(last) else data
    if not tail.strip(b"\r"):
        keep[len(array) - len(tail) :] = False
    return array[keep].tobytes()
