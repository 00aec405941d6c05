"""Chooses the reader for a file by its name, and reads Parquet, which needs nothing but polars."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel.datasets.reading.csv_reader import CsvSource
from seqel.datasets.reading.frames import Frame, Role, Source
from seqel.datasets.reading.json_reader import JsonSource
from seqel.errors import DataError
from seqel.extras import require

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["ParquetSource", "open_source"]


def open_source(path: Path) -> Source:
    """Open a file with the reader for its name.

    Raises:
        DataError: the file does not exist, is empty, or has an unknown suffix.
    """
    if not path.exists():
        raise DataError(f"{path}: expected a file, but there is none")
    if path.is_dir():
        raise DataError(f"{path}: expected a file, got a directory: pass its files, for example {path}/*.parquet")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty: expected a table with one row per step")
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


class ParquetSource:
    """A Parquet file: columns have types, and rows are counted from 1."""

    unit = "row"
    chunk = 1 << 18  # rows

    def __init__(self, path: Path) -> None:
        self.path = path
        pl = require("polars")
        try:
            self.columns = list(pl.read_parquet_schema(path))
            self._rows = int(pl.scan_parquet(path, glob=False).select(pl.len()).collect().item())  # from the footer
        except (pl.exceptions.PolarsError, OSError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> DataError:
        return DataError(f"{self.path}: expected a complete Parquet file: {str(error).splitlines()[0]}")

    def frames(self, roles: Mapping[str, Role]) -> Iterator[Frame]:
        pl = require("polars")
        row = 1
        try:
            wanted = pl.scan_parquet(self.path, glob=False).select(list(roles))
            for rows in wanted.collect_batches(chunk_size=self.chunk, maintain_order=True, lazy=True):
                if rows.height:
                    yield Frame(rows, row, 0, (row - 1 + rows.height) / self._rows)
                    row += rows.height
        except (pl.exceptions.PolarsError, OSError) as error:
            raise self._damaged(error) from error

    def locate(self, frame: Frame, row: int) -> int:
        return frame.line + row
