"""Converts columns to arrays. It is strict: an invalid value is rejected with an error that says where it is.

`refuse(row, expected, value)` makes the error for a row of the batch; the caller knows file, line and column. A null or an
empty text is missing; for numbers NaN is too, because many programs write it for missing values.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.datasets.values import as_text
from seqel.errors import DataError
from seqel.extras import require

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from polars import Series

    Refuse = Callable[[int, str, Any], DataError]

__all__ = ["flags", "lists", "numbers", "orders", "sets", "texts"]

FLOAT32 = float(np.finfo(np.float32).max)
JSON_NUMBERS = r"^\[\s*(-?\d+(\.\d+)?([eE][+-]?\d+)?\s*(,\s*-?\d+(\.\d+)?([eE][+-]?\d+)?\s*)*)?\]$"
DATE_LIKE = r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\d+:\d"
ZONE = r"(Z|z|[+-]\d\d(:?\d\d)?)$"
DATE_FORMS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")
YES, NO = ("true", "1", "1.0", "yes", "t", "y"), ("false", "0", "0.0", "no", "f", "n")


def numbers(column: Series, refuse: Refuse, expected: str = "a number") -> NDArray[np.float64]:
    """Return the numbers, (N,) float64, NaN where missing.

    Raises:
        DataError: from `refuse`: not a number, infinite, or beyond float32.
    """
    pl = require("polars")
    if column.dtype == pl.Null:
        return np.full(len(column), np.nan)
    if column.dtype == pl.String:
        given = column.str.strip_chars().replace("", None)
        found = given.cast(pl.Float64, strict=False)
        if (found.is_null() & given.is_not_null()).any():  # true/false counts as 1 and 0, as in Parquet
            lower = given.str.to_lowercase()
            found = found.zip_with(~lower.is_in(["true", "false"]).fill_null(False), (lower == "true").cast(pl.Float64))
        _first(
            found.is_null() & given.is_not_null(), column, refuse, f"{expected} (leave it empty where it is missing)"
        )
    elif column.dtype.is_numeric() or column.dtype == pl.Boolean:
        found = column.cast(pl.Float64)
    else:
        raise refuse(0, f"{expected} (the column is of type {column.dtype})", column[0])
    array: NDArray[np.float64] = found.fill_null(float("nan")).to_numpy()
    beyond = np.abs(array) > FLOAT32
    if beyond.any():
        row = int(beyond.argmax())
        raise refuse(row, f"{expected}, finite in float32 (below 3.4e38)", column[row])
    return array


def texts(column: Series, refuse: Refuse) -> Series:
    """Return names: text as it is; numbers, booleans and dates as text; null where missing.  (N,) -> (N,) of text.

    Raises:
        DataError: from `refuse`: the column holds lists, structs or bytes.
    """
    pl = require("polars")
    if column.dtype.is_nested() or column.dtype == pl.Binary:
        raise refuse(0, f"a single value (the column is of type {column.dtype})", column[0])
    return (column if column.dtype == pl.String else _as_texts(column)).replace("", None)


def _as_texts(column: Series) -> Series:
    """Convert a column of another type to text, each value as `values.as_text` writes it."""
    pl = require("polars")
    if column.dtype.is_float():
        column = column.fill_nan(None) + 0.0
    if isinstance(column.dtype, pl.Datetime):
        # a fraction only if there is one, then the time zone
        seconds = column.dt.to_string("%Y-%m-%d %H:%M:%S")
        fraction = column.dt.to_string("%.9f").str.strip_chars_end("0").str.strip_chars_end(".")
        zone = column.dt.to_string("%:z") if column.dtype.time_zone else pl.Series([""])
        return seconds + fraction + zone
    if not (column.dtype.is_float() or column.dtype in (pl.Duration, pl.Time)):
        return column.cast(pl.String)
    distinct = column.unique().drop_nulls()
    narrow = column.dtype == pl.Float32
    names = [as_text(np.float32(value) if narrow else value) for value in distinct]
    return column.replace_strict(distinct, pl.Series(names, dtype=pl.String), return_dtype=pl.String)


def flags(column: Series, refuse: Refuse) -> NDArray[np.bool_]:
    """Return booleans, (N,), from true/false, 1/0 or yes/no; missing counts as False.

    Raises:
        DataError: from `refuse`: a value is none of these.
    """
    pl = require("polars")
    if column.dtype == pl.Boolean:
        return column.fill_null(False).to_numpy()
    lower = texts(column, refuse).str.strip_chars().str.to_lowercase()
    yes = lower.is_in(YES).fill_null(False)
    _first(lower.is_not_null() & ~yes & ~lower.is_in(NO).fill_null(False), column, refuse, "true or false (or 1 or 0)")
    return yes.to_numpy()


def orders(column: Series, refuse: Refuse) -> tuple[NDArray[np.int64], NDArray[np.float64], str]:
    """Convert numbers or dates to integer part and fraction, (N,) each, which order values that float64 could not
    distinguish. Also return their kind: "number", "date without a time zone" or "date with a time zone" (dates are
    microseconds since 1970).

    Raises:
        DataError: from `refuse`: a value is missing, is neither, or is a date that does not start with its year.
    """
    pl = require("polars")
    expected = "a number or a date (as 2026-11-24T10:00:00)"
    _first(column.is_null(), column, refuse, f"{expected}: every row needs its place in the session")
    if column.dtype in (pl.Datetime, pl.Date):
        rest = np.zeros(len(column))
        if getattr(column.dtype, "time_unit", "") == "ns":
            rest = (column.dt.nanosecond() % 1000).to_numpy() / 1000
        return column.dt.timestamp("us").to_numpy(), rest, _dates(getattr(column.dtype, "time_zone", None) is not None)
    if column.dtype == pl.String:
        return _orders_of_text(column, refuse, expected)
    if column.dtype.is_integer():
        whole = column.cast(pl.Int64, strict=False)
        _first(whole.is_null(), column, refuse, expected)
        return whole.to_numpy(), np.zeros(len(column)), "number"
    if not column.dtype.is_numeric():
        raise refuse(0, f"{expected} (the column is of type {column.dtype})", column[0])
    return *_parts(column.cast(pl.Float64).to_numpy(), column, refuse, expected), "number"


def _orders_of_text(
    column: Series, refuse: Refuse, expected: str
) -> tuple[NDArray[np.int64], NDArray[np.float64], str]:
    pl = require("polars")
    given = column.str.strip_chars().replace("", None)
    _first(given.is_null(), column, refuse, f"{expected}: every row needs its place in the session")
    whole = given.cast(pl.Int64, strict=False)
    if not whole.has_nulls():
        return whole.to_numpy(), np.zeros(len(column)), "number"
    if re.match(DATE_LIKE, given[0]):
        return _orders_of_dates(given, column, refuse)
    real = given.cast(pl.Float64, strict=False)
    _first(real.is_null(), column, refuse, expected)
    floor, rest = _parts(real.to_numpy(), column, refuse, expected)
    exact = whole.is_not_null().to_numpy()  # integers beyond 2 ** 53 keep every digit
    return np.where(exact, whole.fill_null(0).to_numpy(), floor), np.where(exact, 0.0, rest), "number"


def _orders_of_dates(
    given: Series, column: Series, refuse: Refuse
) -> tuple[NDArray[np.int64], NDArray[np.float64], str]:
    """Convert dates in the order year, month, day. No other order is accepted, because 03/04/2026 is ambiguous."""
    pl = require("polars")
    expected = "a date in ISO form, year first (as 2026-11-24T10:00:00)"
    _first(
        given.str.contains(r"^\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}"),
        column,
        refuse,
        f"{expected}, because it is unclear whether the day or the month is first: rewrite the column, for example with "
        'pandas.to_datetime(..., format="%m/%d/%Y")',
    )
    zoned = given.str.contains(rf"\d:\d.*{ZONE}")
    _first(
        zoned != zoned[0],
        column,
        refuse,
        f"a date {'with' if zoned[0] else 'without'} a time zone, as in the first row ({given[0]!r}): "
        "give all dates a time zone, or none",
    )
    plain = given.str.replace(r"[Tt]", " ").str.replace_all("/", "-").str.replace(r"\s*[Zz]$", "+00:00")
    zone, mark = ("UTC", "%#z") if zoned[0] else (None, "")
    dates = pl.Series([None] * len(given), dtype=pl.Datetime("us", zone))
    for form in DATE_FORMS:
        if dates.has_nulls():  # most columns have a single form
            dates = dates.fill_null(plain.str.to_datetime(form + mark, strict=False, time_unit="us", time_zone=zone))
    _first(dates.is_null(), column, refuse, expected)
    return dates.dt.timestamp("us").to_numpy(), np.zeros(len(column)), _dates(bool(zoned[0]))


def _dates(zoned: bool) -> str:
    return f"date {'with' if zoned else 'without'} a time zone"


def _parts(
    real: NDArray[np.float64], column: Series, refuse: Refuse, expected: str
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    bad = ~(np.abs(real) < 2.0**63)
    if bad.any():
        row = int(bad.argmax())
        raise refuse(row, f"{expected}, finite", column[row])
    floor = np.floor(real)
    return floor.astype(np.int64), real - floor


def lists(
    column: Series, refuse: Refuse, width: int | None, expected: str
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Convert lists of equal length to (N, width) float64, zeros where missing; also return which are missing, (N,).

    width None: that of the first list. Texts are read as JSON, such as "[0.1, 2]".

    Raises:
        DataError: from `refuse`: not a list, a list of another length, or a number in it that is missing or not finite.
    """
    pl = require("polars")
    if column.dtype == pl.String:
        column = _decoded(column, refuse, expected)
    if column.dtype == pl.Null:
        column = column.cast(pl.List(pl.Float64))
    if column.dtype == pl.Array:
        column = column.arr.to_list()
    inner: Any = getattr(column.dtype, "inner", None)
    if inner is None or not (inner.is_numeric() or inner in (pl.Boolean, pl.Null)):
        raise refuse(0, f"{expected} (the column is of type {column.dtype})", column[0])
    column = column.cast(pl.List(pl.Float64))
    missing = column.is_null()
    sizes = column.list.len()
    if width is None:
        some = sizes.drop_nulls()
        width = int(some[0]) if len(some) else 0
        if len(some) and width == 0:
            raise refuse(int(missing.to_numpy().argmin()), f"{expected} with at least one number in it", [])
    _first((sizes != width).fill_null(False), column, refuse, f"{expected} of length {width}, as in the first row")
    array = np.zeros((len(column), width))
    there = ~missing.to_numpy()
    if there.any():
        flat = column.drop_nulls().explode()
        array[there] = flat.fill_null(float("nan")).to_numpy().reshape(-1, width)
    bad = ~(np.abs(array) <= FLOAT32).all(axis=1)
    if bad.any():
        row = int(bad.argmax())
        raise refuse(row, f"{expected}, each of them finite", column[row])
    return array, ~there


def sets(column: Series, refuse: Refuse, names: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Convert lists of names to (N, A) bool, True where a name is in the list; also return which are missing, (N,).

    Texts are read as JSON, such as '["ask", "refund"]'.

    Raises:
        DataError: from `refuse`: not a list, an empty list, or a list with an entry that is not one of the names.
    """
    pl = require("polars")
    expected = f"a list of one or more of the actions {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
    if column.dtype == pl.String:
        column = pl.Series(column.name, [_names(text, row, refuse, expected) for row, text in enumerate(column)])
    if column.dtype == pl.Null:
        column = column.cast(pl.List(pl.String))
    if not isinstance(column.dtype, pl.List | pl.Array):
        raise refuse(0, f"{expected} (the column is of type {column.dtype})", column[0])
    column = column.cast(pl.List(pl.String))
    missing = column.is_null().to_numpy()
    sizes = column.list.len().fill_null(0).to_numpy()
    _first((column.list.len() == 0).fill_null(False), column, refuse, expected)
    flat = column.drop_nulls().explode()
    code = flat.replace_strict(list(names), list(range(len(names))), default=-1, return_dtype=pl.Int64).to_numpy()
    row = np.repeat(np.arange(len(column)), sizes)
    if (code < 0).any():
        wrong = int((code < 0).argmax())
        raise refuse(int(row[wrong]), expected, flat[wrong])
    found = np.zeros((len(column), len(names)), bool)
    found[row, code] = True
    return found, missing


def _names(text: str | None, row: int, refuse: Refuse, expected: str) -> list[str] | None:
    if text is None or not text.strip():
        return None
    try:
        found = json.loads(text)
        if not isinstance(found, list) or not all(isinstance(one, str | int) for one in found):
            raise ValueError
    except (ValueError, RecursionError):
        raise refuse(row, f"{expected}, such as {json.dumps(['x', 'y'])}", text) from None
    return [str(one) for one in found]


def _decoded(column: Series, refuse: Refuse, expected: str) -> Series:
    pl = require("polars")
    given = column.str.strip_chars().replace("", None)
    if given.str.contains(JSON_NUMBERS).fill_null(True).all():  # polars accepts anything that starts like a list
        return given.str.json_decode(pl.List(pl.Float64))
    else:  # booleans inside, or an invalid value: one by one
        out: list[list[float] | None] = []
        for row, text in enumerate(given):
            try:
                value = None if text is None else json.loads(text)
                if value is not None and not isinstance(value, list):
                    raise ValueError
                out.append(None if value is None else [_real(part) for part in value])
            except (ValueError, RecursionError):
                raise refuse(row, f'{expected}, such as "[0.1, 2]"', text) from None
        return pl.Series(column.name, out, dtype=pl.List(pl.Float64))  # type: ignore[no-any-return]


def _real(value: Any) -> float:
    if not isinstance(value, bool | int | float):
        raise ValueError
    return float(value)


def _first(bad: Series, column: Series, refuse: Refuse, expected: str) -> None:
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise refuse(row, expected, column[row])
