"""What a file of a table gives: frames of rows, each row with its place in the file."""

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

Role = Literal["number", "whole", "text", "list", "lists"]  # what to try first; `cells` has the last word


@dataclass(frozen=True, slots=True)
class Frame:
    """Some rows of a file."""

    rows: DataFrame  # the wanted columns
    line: int  # where the rows begin: a line number for text, a row number for Parquet; both from 1
    offset: int  # the same in bytes, for text
    share: float = 0.0  # of the file that has been read by the end of these rows, about


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


def lines(data: bytes) -> int:
    """How many lines these are; the last one may lack its end."""
    return count(data, b"\n") + (not data.endswith(b"\n"))


def not_utf8(path: Path, line: int, column: str, error: UnicodeDecodeError) -> DataError:
    """The error for bytes that are no text; `column` as ", column 'name'", or empty."""
    came = error.object[error.start : error.start + 4]
    return DataError(
        f"{path}, line {line}{column}: expected UTF-8 text, got the bytes {came!r}: save the file as UTF-8"
    )
