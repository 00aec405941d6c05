"""The interface of a file of a table: frames of rows, where each row's place in the file is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from seqel.datasets.reading.chunks import count
from seqel.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from polars import DataFrame

__all__ = ["Frame", "Role", "Source", "lines", "not_utf8"]

Role = Literal["number", "whole", "text", "list", "lists"]  # the type to try first; `cells` decides


@dataclass(frozen=True, slots=True)
class Frame:
    """Some rows of a file."""

    rows: DataFrame  # the wanted columns
    line: int  # where the rows begin: a line number for text, a row number for Parquet; both from 1
    offset: int  # the same in bytes, for text
    share: float = 0.0  # approximate share of the file that has been read by the end of these rows


class Source(Protocol):
    """A file of a table."""

    path: Path
    columns: list[str]
    unit: str  # "line" or "row"

    def frames(self, roles: Mapping[str, Role]) -> Iterator[Frame]:
        """Yield the columns named in `roles`, in frames.

        Raises:
            DataError: a row cannot be read; names the file, the line, and if possible the column.
        """

    def locate(self, frame: Frame, row: int) -> int:
        """Return the line (or row of the file) of the `row`-th row of a frame."""


def lines(data: bytes) -> int:
    """Return the number of lines; the last one may lack its line end."""
    return count(data, b"\n") + (not data.endswith(b"\n"))


def not_utf8(path: Path, line: int, column: str, error: UnicodeDecodeError) -> DataError:
    """Return the error for bytes that are not UTF-8 text; `column` is ", column 'name'" or empty."""
    got = error.object[error.start : error.start + 4]
    return DataError(f"{path}, line {line}{column}: expected UTF-8 text, got the bytes {got!r}: save the file as UTF-8")
