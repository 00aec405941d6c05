"""Reads interactions from a table: one row per user and item."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.datasets.reading.whole import read_whole
from seqel.datasets.schema import nearest
from seqel.errors import DataError
from seqel.extras import require
from seqel.ranking.interactions import Interactions

if TYPE_CHECKING:
    import polars as pl

__all__ = ["read_interactions"]

YEAR_FIRST = r"^\s*\d{4}\D"


def read_interactions(
    path: str | Path,
    user: str = "user",
    item: str = "item",
    time: str | None = "time",
    rating: str | None = None,
    *,
    separator: str = ",",
    items: Sequence[Any] | None = None,
) -> Interactions:
    """Read a table (CSV or Parquet) with a column of users and one of items.

    time: a column of numbers or dates; None: of each user, rows are in order. rating: a column of numbers; None: 1 each.
    Names of users and items become texts. items: the catalogue; None: the items that occur.

    Raises:
        DataError: the file cannot be read; a column is missing; a value is missing, no number, or not in the catalogue.
        MissingExtraError: the extra `data` is not installed.
    """
    polars = require("polars")
    table = read_whole(Path(path), "interactions", separator)
    named = {"user": user, "item": item, "time": time, "rating": rating}
    for role, column in named.items():
        if column is not None and column not in table.columns:
            near = nearest(column, table.columns)
            other = next((one for one in ";\t|" if table.width == 1 and one in table.columns[0]), None)
            more = near if other is None else f"; is the separator {other!r}?"
            raise DataError(f"{path}: expected a column {column!r} ({role}), got {', '.join(table.columns)}{more}")
        if column is not None and table[column].null_count():
            row = int(table[column].is_null().arg_max() or 0)
            more = "; leave these rows out, or read the table without ratings" if role == "rating" else ""
            raise DataError(
                f"{path}: column {column!r}: expected a value in every row, got none in row {row + 1}{more}"
            )
    try:
        return Interactions.of(
            table[user].cast(polars.String).to_list(),
            table[item].cast(polars.String).to_list(),
            None if time is None else _numbers(table[time], polars),
            None if rating is None else table[rating].to_numpy(),
            items=None if items is None else [str(name) for name in items],
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _numbers(column: pl.Series, polars: Any) -> Any:
    """Return times as numbers; dates, also as ISO 8601 texts, in seconds."""
    if column.dtype == polars.String:
        expected = f"column {column.name!r}: expected numbers or dates in ISO 8601, the year first"
        other = ~column.str.contains(YEAR_FIRST)  # 02/01/2026 is a day in January or in February
        if other.any():
            row = int(other.arg_max() or 0)
            raise DataError(f"{expected}, got {column[row]!r:.80} in row {row + 1}")
        try:
            column = column.str.to_datetime()
        except polars.exceptions.PolarsError as error:
            raise DataError(f"{expected}, {_first_that_is_no_date(column, error)}") from error
    if column.dtype.is_temporal():
        return (
            column.dt.epoch("us").to_numpy() / 1e6 if column.dtype != polars.Date else column.to_physical().to_numpy()
        )
    return np.asarray(column.to_numpy())


def _first_that_is_no_date(column: pl.Series, error: Exception) -> str:
    for row, text in enumerate(column.to_list(), 1):
        try:
            datetime.fromisoformat(text)
        except ValueError:
            return f"got {text!r:.80} in row {row}"
    return f"all in the same form, but {str(error).splitlines()[0]}"
