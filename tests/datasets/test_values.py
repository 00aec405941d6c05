"""A value has the same code in service as on import, whichever form it has in either."""

from __future__ import annotations

import csv
import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from seqel.datasets.dataset import Dataset, load
from seqel.datasets.values import Lookup, as_text, canonical, is_missing
from seqel.spaces.text_readers import hash_text

RNG = np.random.default_rng(0)
VALUES: dict[str, list[Any]] = {
    "flags": [True, False],
    "whole": [0, 2, -7, 10**6, 2**62 + 1, *RNG.integers(-(10**9), 10**9, 20).tolist()],
    "real": [
        1e-7, 2.0, -0.5, 1e16, 1e20, 0.1, 123456.75, *(RNG.normal(size=20) * 10.0 ** RNG.integers(-9, 9, 20)).tolist(),
    ],
    "days": [date(2026, 1, 1), date(1999, 12, 31)],
    "moments": [
        datetime(2026, 1, 1), datetime(2026, 1, 1, 10, 0, 0, 500_000), datetime(2026, 1, 1, 10),
        datetime(1970, 1, 1, 0, 0, 1, 5),
    ],
    "zoned": [datetime(2026, 1, 1, 10, tzinfo=UTC), datetime(2026, 1, 1, 10, 0, 0, 20, tzinfo=UTC)],
    "names": ["a", "True story", "007", "1.10", "1.1", "nan", "你好", " x ", "1e5x", "2026-13-99", "-"],
    "decimals": [Decimal("2.50"), Decimal("0.10")],
    "times": [time(12, 0), time(12, 0, 1, 500_000)],
    "spans": [timedelta(hours=1), timedelta(days=2, seconds=1)],
}  # fmt: skip


def forms(value: Any) -> list[Any]:
    """Return other forms of the same value."""
    found: list[Any] = [value, str(value)]
    if isinstance(value, bool):
        found += [np.bool_(value), str(value).lower(), str(value).upper()]
    elif isinstance(value, int):
        found += [np.int64(value)] + ([float(value), f"{value}.0", np.float64(value)] if abs(value) < 2**53 else [])
    elif isinstance(value, float):
        found += [np.float64(value), repr(value)] + ([int(value)] if value == int(value) and abs(value) < 2**53 else [])
    elif isinstance(value, datetime):
        found += [value.isoformat(), np.datetime64(value.replace(tzinfo=None)) if value.tzinfo is None else value]
        found += [value.isoformat().replace("+00:00", "Z")]
        found += [value.date().isoformat()] if value == datetime(2026, 1, 1) and value.tzinfo is None else []
    elif isinstance(value, date):
        found += [value.isoformat(), datetime(value.year, value.month, value.day), np.datetime64(value)]
    return found


def table(values: list[Any], directory: Path, kind: str) -> Path:
    path = directory / f"t.{kind}"
    if kind == "parquet":
        pl.DataFrame({"who": "a", "do": "go", "gain": 1.0, "it": values}).write_parquet(path)
    elif kind == "jsonl":
        rows = [
            {"who": "a", "do": "go", "gain": 1.0, "it": v if isinstance(v, bool | int | float | str) else str(v)}
            for v in values
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([["who", "do", "gain", "it"], *(["a", "go", 1.0, str(value)] for value in values)])
    return path  # fmt: skip


def read(path: Path, kind: str = "category") -> Dataset:
    from seqel.datasets.schema import Schema

    return load(path, Schema("who", "do", "gain", {"it": kind}))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("name", list(VALUES))
def test_every_form_of_a_category_has_the_code_of_the_import(tmp_path: Path, name: str, kind: str) -> None:
    values = VALUES[name]
    dataset = read(table(values, tmp_path, kind))
    assert dataset.encoding is not None
    codes = dataset.buffer.slots.columns["observation/categories"][: len(values), 0]
    assert len(set(codes.tolist())) == len(values)  # nothing is merged
    for value, code in zip(values, codes.tolist(), strict=True):
        for form in forms(value):
            assert dataset.encoding.code("it", form) == code > 0, (value, form)


def test_float32_columns_and_nanoseconds_are_found_again(tmp_path: Path) -> None:
    frame = pl.DataFrame({"who": "a", "do": "go", "gain": 1.0, "it": pl.Series([0.1, 2.0, 1e-7], dtype=pl.Float32)})
    frame.write_parquet(tmp_path / "t.parquet")
    encoding = read(tmp_path / "t.parquet").encoding
    assert encoding is not None
    for form in (0.1, np.float32(0.1), float(np.float32(0.1)), "0.1"):
        assert encoding.code("it", form) > 0
    moment = np.datetime64("2026-01-01T10:00:00.123456789")
    frame = frame.with_columns(it=pl.Series(np.array([moment] * 3)))
    frame.write_parquet(tmp_path / "u.parquet")
    encoding = read(tmp_path / "u.parquet").encoding
    assert encoding is not None
    assert encoding.code("it", moment) == encoding.code("it", "2026-01-01T10:00:00.123456789") == 1


@pytest.mark.parametrize("name", ["flags", "whole", "real", "days", "moments", "zoned", "names"])
def test_a_text_is_hashed_as_on_import(tmp_path: Path, name: str) -> None:
    dataset = read(table(VALUES[name], tmp_path, "parquet"), "text")
    assert dataset.encoding is not None
    for slot, value in enumerate(VALUES[name]):
        found = dataset.encoding.row({"it": value})["text/it"]
        np.testing.assert_array_equal(found, dataset.buffer.slots.columns["observation/text/it"][slot])


def test_what_is_not_a_number_is_no_text(tmp_path: Path) -> None:
    dataset = read(table(["hello", "you"], tmp_path, "csv"), "text")
    assert dataset.encoding is not None
    for missing in (None, "", float("nan"), np.float32("nan"), np.datetime64("NaT")):
        assert is_missing(missing)
        np.testing.assert_array_equal(dataset.encoding.row({"it": missing})["text/it"], hash_text(""))
    assert not is_missing("nan")
    np.testing.assert_array_equal(dataset.encoding.row({"it": "nan"})["text/it"], hash_text("nan"))


def test_forms_that_mean_two_names_are_distinguished_by_their_text() -> None:
    lookup = Lookup(["1.1", "1.10", "2", "true"])
    assert [lookup.get(value) for value in ("1.1", "1.10", 1.1, "1.100")] == [0, 1, 0, None]
    assert [lookup.get(value) for value in (2.0, "2.0", np.int8(2), True, "TRUE", "no", None)] == [
        2,
        2,
        2,
        3,
        3,
        None,
        None,
    ]
    assert [canonical(text) for text in ("007", "+5", "1e400", "-0.0", ".5")] == ["007", "5", "1e400", "0", "0.5"]
    assert as_text(-0.0) == "0.0"


def test_actions_of_another_form_are_the_agents_actions(tmp_path: Path) -> None:
    from seqel.datasets.reencode import reencode
    from seqel.datasets.schema import Schema

    schema = Schema("who", "do", "gain", {"x": "number"})
    pl.DataFrame({"who": "a", "x": 1, "do": [1, 2], "gain": 1.0}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"who": "a", "x": 1, "do": [2.0, 1.0], "gain": 1.0}).write_parquet(tmp_path / "b.parquet")
    agents = load(tmp_path / "a.parquet", schema).encoding
    assert agents is not None
    found = reencode(load(tmp_path / "b.parquet", schema), agents)
    assert found.buffer.actions()[:, 0].tolist() == [1, 0]
