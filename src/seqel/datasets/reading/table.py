"""Reads one or more files as one table, in batches; the file and line of each row are known."""

from __future__ import annotations

import glob
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqel.datasets.reading.frames import Frame, Role, Source
from seqel.datasets.reading.json_reader import JsonSource
from seqel.datasets.reading.readers import open_source
from seqel.datasets.schema import nearest
from seqel.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from polars import DataFrame

__all__ = ["Batch", "Table", "expand"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive rows of one file."""

    rows: DataFrame
    first: int  # number of the first row in the whole table, from 0
    share: float  # estimated share of the table that has been read by its end, 0 to 1


class Table:
    """Files that are read one after another. They must have the same columns, but may differ in order and format.

    Raises:
        DataError: a file is missing, is empty, or has an unknown suffix.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self.sources: list[Source] = [open_source(path) for path in files]
        self._frames: list[tuple[Source, Frame]] = []
        self._firsts: list[int] = []

    @property
    def columns(self) -> list[str]:
        """The columns of the first file."""
        return self.sources[0].columns

    def require(self, columns: Sequence[str]) -> None:
        """Check that every file has these columns.

        Raises:
            DataError: a column is missing; names the file, the column, the existing ones, and the most similar one.
        """
        for source in self.sources:
            for column in columns:
                if column in source.columns or (isinstance(source, JsonSource) and source.look_for(column)):
                    continue
                hint = nearest(column, source.columns)
                found = ", ".join(source.columns)
                raise DataError(
                    f"{source.path}: the schema names column {column!r}, which does not exist{hint}; the columns are {found}"
                )

    def batches(self, roles: Mapping[str, Role]) -> Iterator[Batch]:
        """Yield all rows, in the order of the files; `rows` has the columns of `roles`, in that order.

        Raises:
            DataError: a row cannot be read.
        """
        self._frames.clear()
        self._firsts.clear()
        sizes = [source.path.stat().st_size for source in self.sources]
        first = 0
        for number, source in enumerate(self.sources):
            for frame in source.frames(roles):
                self._frames.append((source, Frame(frame.rows.clear(), frame.line, frame.offset)))
                self._firsts.append(first)
                done = sum(sizes[:number]) + frame.share * sizes[number]
                yield Batch(frame.rows, first, done / sum(sizes))
                first += frame.rows.height

    def place(self, row: int) -> str:
        """Return the place of a row, such as "sessions.csv, line 17". This reads part of the file again."""
        at = bisect_right(self._firsts, row) - 1
        source, frame = self._frames[at]
        return f"{source.path}, {source.unit} {source.locate(frame, row - self._firsts[at])}"

    def refusal(self, row: int, column: str, expected: str, value: Any) -> DataError:
        """Return the error for one value."""
        value = value.to_list() if hasattr(value, "to_list") else value  # polars shows a list over several lines
        got = "nothing" if value is None or (isinstance(value, str) and not value) else repr(value)
        return DataError(f"{self.place(row)}, column {column!r}: expected {expected}, got {got:.120}")


def expand(files: str | Path | Sequence[str | Path]) -> list[Path]:
    """Expand a file, several files, or patterns such as "data/*.parquet"; the matches of a pattern are sorted.

    Raises:
        DataError: a pattern matches nothing, or no file is given.
    """
    given = [files] if isinstance(files, str | Path) else list(files)
    found: list[Path] = []
    for one in given:
        path = Path(one)
        if path.exists() or not glob.has_magic(str(one)):
            found.append(path)
            continue
        matches = sorted(glob.glob(str(one), recursive=True))  # noqa: PTH207  (an absolute pattern, too)
        if not matches:
            raise DataError(f"{one}: expected files that match, got none")
        found += [Path(match) for match in matches]
    if not found:
        raise DataError("expected at least one file, got none")
    return found
