"""Reads interactions from a table: one row per user and item."""

from __future__ import annotations

from collections.abc import Sequence
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
            raise DataError(f"{path}: expected a column {column!r} ({role}), got {', '.join(table.columns)}{near}")
        if column is not None and table[column].null_count():
            row = int(table[column].is_null().arg_max() or 0)
            raise DataError(f"{path}: column {column!r}: expected a value in every row, got none in row {row + 1}")
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
        try:
            column = column.str.to_datetime()
        except polars.exceptions.PolarsError as error:
            raise DataError(f"column {column.name!r}: expected numbers or dates in ISO 8601: {error}") from error
    if column.dtype.is_temporal():
        return (
            column.dt.epoch("us").to_numpy() / 1e6 if column.dtype != polars.Date else column.to_physical().to_numpy()
        )
    return np.asarray(column.to_numpy())
