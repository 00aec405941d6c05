"""One file of a table, read in frames of a bounded size: CSV, JSON lines (both also gzipped) and Parquet.

Text is read fast, by polars, with the types that the columns should have. Where that fails, the same piece is read as
plain text, so that `cells` can find and name the value at fault; and where even that fails, slowly, line by line, to
say what is wrong with which line.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from seqel.datasets.library import needed
from seqel.datasets.lines import Piece, pieces
from seqel.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from polars import DataFrame

__all__ = ["Frame", "Role", "Source", "open_source"]

Role = Literal["number", "whole", "text", "list"]  # what to try first; `cells` has the last word
SEPARATORS = (",", ";", "\t", "|")
PEEK = 1_000  # lines of JSON whose keys are the columns


@dataclass(frozen=True, slots=True)
class Frame:
    """Some rows of a file."""

    rows: DataFrame  # the wanted columns
    line: int  # where the rows begin: a line number for text, a row number for Parquet; both from 1
    offset: int  # the same in bytes, for text


class Source(Protocol):
    """A file of a table."""

    path: Path
    columns: list[str]
    unit: str  # "line" or "row"

    def frames(self, roles: Mapping[str, Role]) -> Iterator[Frame]:
        """The wanted columns, in frames.

        Raises:
            DataError: a row cannot be read; names the file, the line, and where possible the column.
        """

    def locate(self, frame: Frame, row: int) -> int:
        """The line (or row of the file) of the `row`-th row of a frame."""


def open_source(path: Path) -> Source:
    """By the file's name.

    Raises:
        DataError: there is no such file, it is empty, or of no known kind.
    """
    if not path.exists():
        raise DataError(f"{path}: expected a file, but there is none")
    if path.is_dir():
        raise DataError(f"{path}: expected a file, but this is a directory: give its files, for example {path}/*.parquet")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty: expected a table with a row a step")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    kind = suffixes[-2] if len(suffixes) > 1 and suffixes[-1] == ".gz" else suffixes[-1] if suffixes else ""
    if kind in (".csv", ".tsv", ".txt"):
        return CsvSource(path)
    if kind in (".jsonl", ".ndjson", ".json"):
        return JsonSource(path)
    if kind in (".parquet", ".pq"):
        return ParquetSource(path)
    raise DataError(
        f"{path}: expected a file called .csv, .tsv, .jsonl or .ndjson (each also with .gz) or .parquet, got {kind!r}"
    )


class CsvSource:
    """Comma-separated values (also semicolons, tabs, bars), with a header."""

    unit = "line"

    def __init__(self, path: Path) -> None:
        self.path = path
        first = next(pieces(path, quotes=True), None)
        if first is None or not first.data.strip():
            raise DataError(f"{path} is empty: expected a header and a row a step")
        head, self._offset, self._line = self._header(first)
        self.separator = max(SEPARATORS, key=lambda mark: (head.count(mark), mark == ","))
        self.columns = next(csv.reader(io.StringIO(head, newline=""), delimiter=self.separator))
        self.columns = [name.strip() for name in self.columns]
        self._types: dict[str, Any] = {}

    def _header(self, first: Piece) -> tuple[str, int, int]:
        """Its text, and where the rows begin: offset and line."""
        end = 0
        while True:
            end = first.data.find(b"\n", end) + 1 or len(first.data)
            head = first.data[:end]
            if head.strip() and not head.count(b'"') % 2:
                break
        try:
            text = head.decode().strip("\r\n")
        except UnicodeDecodeError as error:
            raise _not_utf8(self.path, 1, "", error) from error
        return text, first.offset + end, 1 + head.count(b"\n")

    def frames(self, roles: Mapping[str, Role]) -> Iterator[Frame]:
        for name in roles:
            if self.columns.count(name) > 1:
                raise DataError(f"{self.path}, line 1: the header has {name!r} twice: rename one of them")
        for piece in pieces(self.path, quotes=True, offset=self._offset, line=self._line):
            rows = self._frame(piece, roles)
            if rows.height:
                yield Frame(rows, piece.line, piece.offset)

    def _frame(self, piece: Piece, roles: Mapping[str, Role]) -> DataFrame:
        pl = needed("polars")
        starts, separators = _structure(piece.data, self.separator)
        if separators != len(starts) * (len(self.columns) - 1):
            raise self._explain(piece) or self._unread(piece, "the rows have different numbers of values")
        data = piece.data if len(starts) == _lines(piece.data) else _without_blank(piece.data)
        if not data:
            data = b""
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
                    # Orders that are no whole numbers would fail again and again; a number at fault ends the import.
                    self._types = {name: pl.String if found == pl.Int64 else found for name, found in types.items()}
                    continue
                raise self._explain(piece) or self._unread(piece, str(error).split("\n")[0]) from error
            if rows.height != len(starts):
                break
            return rows.rename({f"column_{i + 1}": name for i, name in wanted.items()}).select(list(roles))
        raise self._explain(piece) or self._unread(piece, f"expected {len(starts):,} rows, polars finds others")

    def _unread(self, piece: Piece, reason: str) -> DataError:
        last = piece.line + max(0, _lines(piece.data) - 1)
        return DataError(f"{self.path}, somewhere in lines {piece.line:,} to {last:,}: not a valid CSV: {reason}")

    def _explain(self, piece: Piece) -> DataError | None:
        """The first record that is wrong, found slowly."""
        try:
            text = piece.data.decode()
        except UnicodeDecodeError as error:
            line = piece.data.count(b"\n", 0, error.start)
            begin = piece.data.rfind(b"\n", 0, error.start) + 1
            field = piece.data.count(self.separator.encode(), begin, error.start)
            column = f", column {self.columns[field]!r}" if field < len(self.columns) else ""
            return _not_utf8(self.path, piece.line + line, column, error)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=self.separator, strict=True)
        csv.field_size_limit(1 << 30)
        line = piece.line
        try:
            for record in reader:
                if record and len(record) != len(self.columns):
                    return DataError(
                        f"{self.path}, line {line}: expected {len(self.columns)} values ({', '.join(self.columns)}), "
                        f"got {len(record)}: {self.separator.join(record)[:120]!r}; a value that contains "
                        f"{self.separator!r} must stand in double quotes"
                    )
                line = piece.line + reader.line_num
        except csv.Error as error:
            return DataError(f"{self.path}, line {line}: not a valid CSV: {error}")
        for number, raw in enumerate(piece.data.split(b"\n")):
            for value in raw.split(self.separator.encode()):  # `5" disk`: csv reads it, polars does not
                if b'"' in value.strip(b"\r").strip(b'"') and not value.startswith(b'"'):
                    shown = value.decode(errors="replace")[:80]
                    return DataError(
                        f"{self.path}, line {piece.line + number}: expected a value with double quotes in it to stand in "
                        f'double quotes, each quote inside written twice, got {shown!r}'
                    )
        return None

    def locate(self, frame: Frame, row: int) -> int:
        for piece in pieces(self.path, quotes=True, offset=frame.offset, line=frame.line):
            starts, _ = _structure(piece.data, self.separator)
            if row < len(starts):
                return piece.line + piece.data.count(b"\n", 0, int(starts[row]))
            row -= len(starts)
        return 0


def _lines(data: bytes) -> int:
    return data.count(b"\n") + (not data.endswith(b"\n"))


def _structure(data: bytes, separator: str) -> tuple[NDArray[np.int64], int]:
    """Where each record that is not a blank line begins, (records,) int64; and how many separators end a value."""
    array = np.frombuffer(data, np.uint8)
    ends, marks = array == ord("\n"), array == ord(separator)
    if b'"' in data:
        outside = (np.cumsum(array == ord('"'), dtype=np.uint8) & 1) == 0
        ends &= outside
        marks &= outside
    last = np.flatnonzero(ends)
    starts = np.concatenate([np.zeros(1, np.int64), last + 1])
    stops = np.concatenate([last, [len(array)]])
    if stops[-1] == starts[-1]:
        starts, stops = starts[:-1], stops[:-1]
    size = stops - starts
    blank = (size == 0) | ((size == 1) & (array[np.minimum(starts, len(array) - 1)] == ord("\r")))
    return starts[~blank], int(np.count_nonzero(marks))


def _without_blank(data: bytes) -> bytes:
    """The records without blank lines between them (lines inside quotes are kept)."""
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


def _not_utf8(path: Path, line: int, column: str, error: UnicodeDecodeError) -> DataError:
    came = error.object[error.start : error.start + 4]
    return DataError(f"{path}, line {line}{column}: expected UTF-8 text, got the bytes {came!r}: save the file as UTF-8")


class JsonSource:
    """One JSON object a line."""

    unit = "line"

    def __init__(self, path: Path) -> None:
        self.path = path
        first = next(pieces(path, quotes=False), None)
        if first is None or not first.data.strip():
            raise DataError(f"{path} is empty: expected a JSON object a line, a line a step")
        self._first = first
        found: dict[str, None] = {}
        for number, line in enumerate(first.data.split(b"\n", PEEK)[:PEEK]):
            if line.strip():
                found |= dict.fromkeys(self._parsed(line, first.line + number))
        self.columns = list(found)
        self._types: dict[str, Any] = {}

    def look_for(self, column: str) -> bool:
        """Whether a column that the first lines lack occurs further on: JSON may leave out what is missing."""
        name = json.dumps(column).encode(), json.dumps(column, ensure_ascii=False).encode()
        return any(part in piece.data for piece in pieces(self.path, quotes=False) for part in name)

    def frames(self, roles: Mapping[str, Role]) -> Iterator[Frame]:
        for piece in pieces(self.path, quotes=False):
            rows = self._frame(piece, roles)
            if rows.height:
                yield Frame(rows, piece.line, piece.offset)

    def _frame(self, piece: Piece, roles: Mapping[str, Role]) -> DataFrame:
        pl = needed("polars")
        asked = {"number": pl.Float64, "whole": pl.Int64, "list": pl.List(pl.Float64)}
        types = self._types or {name: asked.get(role, pl.String) for name, role in roles.items()}
        if not piece.data.strip():
            return pl.DataFrame(schema=types)  # type: ignore[no-any-return]
        for attempt in (types, dict.fromkeys(roles, pl.String)):
            try:
                rows: DataFrame = pl.read_ndjson(piece.data, schema=attempt)
            except pl.exceptions.PolarsError as error:
                if attempt is types:
                    self._types = {
                        name: pl.String if found in (pl.Int64, pl.List(pl.Float64)) else found
                        for name, found in types.items()
                    }
                    continue
                raise self._explain(piece, str(error).split("\n")[0]) from error
            if rows.height != len(_filled(piece.data)):
                break
            return rows.select(list(roles))
        raise self._explain(piece, "expected one JSON object a line")

    def _explain(self, piece: Piece, reason: str) -> DataError:
        for number, line in enumerate(piece.data.split(b"\n")):
            if line.strip():
                self._parsed(line, piece.line + number)
        last = piece.line + max(0, _lines(piece.data) - 1)
        return DataError(f"{self.path}, somewhere in lines {piece.line:,} to {last:,}: not valid JSON lines: {reason}")

    def _parsed(self, line: bytes, number: int) -> dict[str, Any]:
        where = f"{self.path}, line {number}"

        def constant(text: str) -> None:
            raise ValueError(f"{text} is not JSON; write null for a missing value")

        try:
            value = json.loads(line.decode(), parse_constant=constant)
        except UnicodeDecodeError as error:
            raise _not_utf8(self.path, number, "", error) from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: expected a JSON object, got {line[:80]!r}: {error}") from error
        if not isinstance(value, dict):
            raise DataError(f"{where}: expected a JSON object such as {{\"session\": 1, ...}}, got {line[:80]!r}")
        return value

    def locate(self, frame: Frame, row: int) -> int:
        for piece in pieces(self.path, quotes=False, offset=frame.offset, line=frame.line):
            filled = _filled(piece.data)
            if row < len(filled):
                return piece.line + filled[row]
            row -= len(filled)
        return 0


def _filled(data: bytes) -> range | list[int]:
    """The numbers, from 0, of the lines that are not blank."""
    if b"\n\n" not in data and b"\n\r" not in data and b"\n " not in data and not data[:1].isspace():
        return range(_lines(data))
    return [number for number, line in enumerate(data.split(b"\n")) if line.strip()]


class ParquetSource:
    """Parquet: types come with it, rows are counted from 1."""

    unit = "row"
    chunk = 1 << 18  # rows

    def __init__(self, path: Path) -> None:
        self.path = path
        pl = needed("polars")
        try:
            self.columns = list(pl.read_parquet_schema(path))
        except (pl.exceptions.PolarsError, OSError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> DataError:
        return DataError(f"{self.path}: expected a whole Parquet file: {str(error).splitlines()[0]}")

    def frames(self, roles: Mapping[str, Role]) -> Iterator[Frame]:
        pl = needed("polars")
        row = 1
        try:
            wanted = pl.scan_parquet(self.path, glob=False).select(list(roles))
            for rows in wanted.collect_batches(chunk_size=self.chunk, maintain_order=True, lazy=True):
                if rows.height:
                    yield Frame(rows, row, 0)
                    row += rows.height
        except (pl.exceptions.PolarsError, OSError) as error:
            raise self._damaged(error) from error

    def locate(self, frame: Frame, row: int) -> int:
        return frame.line + row
