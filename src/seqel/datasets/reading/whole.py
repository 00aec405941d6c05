"""Reads a small table, such as that of a catalogue, at once and with the types that polars finds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from seqel.errors import DataError
from seqel.extras import require

if TYPE_CHECKING:
    from polars import DataFrame

__all__ = ["read_whole"]


def read_whole(path: Path, of: str, separator: str = ",") -> DataFrame:
    """Return the table in a CSV or Parquet file. of: what it is a table of, for the errors.

    Raises DataError if the file cannot be read, MissingExtraError if the extra `data` is not installed.
    """
    polars = require("polars")
    try:
        found: DataFrame = (
            polars.read_parquet(path) if path.suffix == ".parquet" else polars.read_csv(path, separator=separator)
        )
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, polars.exceptions.PolarsError) as error:
        reason = str(error).split("\n", 1)[0]  # what follows is advice about the functions of polars
        raise DataError(f"{path}: expected a table of {of} (CSV or Parquet), but {reason}") from error
    return found
