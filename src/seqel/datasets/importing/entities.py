"""A column of sets of entities: in each row a list of lists of numbers, padded to the most that there can be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.extras import require

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from polars import Series

    from seqel.datasets.importing.cells import Refuse

__all__ = ["entities"]

FLOAT32 = float(np.finfo(np.float32).max)
EXPECTED = "a list of entities, each a list of equally many numbers"


def entities(
    column: Series, refuse: Refuse, features: int | None, most: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Lists of lists of numbers -> (N, most, F + 1) float64, the last feature 1 where an entity is there; and which are
    missing, (N,), read as empty sets.

    features None: as many as the first entity has. Texts are read as JSON, such as "[[0.1, 2], [0.3, 4]]".

    Raises:
        DataError: from `refuse`: no list of lists, more than `most`, or an entity with other numbers than F finite ones.
    """
    pl = require("polars")
    lists = pl.List(pl.List(pl.Float64))
    if column.dtype == pl.String:
        column = pl.Series(column.name, [_decoded(text, row, refuse) for row, text in enumerate(column)], dtype=lists)
    if column.dtype not in (pl.List, pl.Array, pl.Null):
        raise refuse(0, f"{EXPECTED} (the column is of type {column.dtype})", column[0])
    try:
        column = column.cast(lists)
    except pl.exceptions.PolarsError:
        raise refuse(0, f"{EXPECTED} (the column is of type {column.dtype})", column[0]) from None
    missing = column.is_null().to_numpy()
    sizes = column.list.len().fill_null(0).to_numpy().astype(np.int64)
    if sizes.max(initial=0) > most:
        row = int((sizes > most).argmax())
        raise refuse(row, f"at most {most} entities (most_entities in the schema), not {sizes[row]}", column[row])
    rows = column.filter(pl.Series(sizes > 0)).explode()
    widths = rows.list.len().fill_null(0).to_numpy()
    of_row = np.repeat(np.arange(len(column)), sizes)
    if features is None:
        if not len(widths) or not widths[0]:
            raise refuse(0, f"{EXPECTED}, at least one of them in one of the first rows", column[0])
        features = int(widths[0])
    if (widths != features).any():
        row = int(of_row[(widths != features).argmax()])
        raise refuse(row, f"{EXPECTED}: {features}, as in the first row", column[row])
    flat = rows.explode().fill_null(float("nan")).to_numpy().reshape(-1, features)
    bad = ~(np.abs(flat) <= FLOAT32).all(axis=1)
    if bad.any():
        row = int(of_row[bad.argmax()])
        raise refuse(row, f"{EXPECTED}, each of them finite", column[row])
    out = np.zeros((len(column), most, features + 1))
    there = np.arange(most) < sizes[:, None]
    out[there, :-1] = flat
    out[..., -1] = there
    return out, missing


def _decoded(text: str | None, row: int, refuse: Refuse) -> list[list[float]] | None:
    if text is None or not text.strip():
        return None
    try:
        return [[_real(part) for part in one] for one in json.loads(text)]
    except (TypeError, ValueError, RecursionError):
        raise refuse(row, f'{EXPECTED}, such as "[[0.1, 2], [0.3, 4]]"', text) from None


def _real(value: Any) -> float:
    if not isinstance(value, bool | int | float):
        raise ValueError
    return float(value)
