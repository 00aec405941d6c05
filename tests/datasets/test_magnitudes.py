"""Large numbers that are close together stay distinct, on import and in service."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seqel.datasets.dataset import load
from seqel.datasets.encoding import Encoding
from seqel.datasets.inspection.analysis import analyse
from seqel.datasets.magnitudes import Magnitudes
from seqel.datasets.reencode import reencode
from seqel.errors import DataError

COLUMNS: dict[str, list[float]] = {
    "epoch seconds": [1_764_000_000, 1_764_000_001, 1_764_000_060, 1_764_000_002],
    "int64": [2**40 + 1, 2**40 + 2, 2**40 + 3, 2**40],
    "float64": [1e9 + 0.25, 1e9 + 0.5, 1e9 + 0.75, 1e9],
    "negative": [-(2**40) - 1, -(2**40) - 2, -(2**40) - 3, -(2**40)],
}


@pytest.mark.parametrize("name", list(COLUMNS))
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_large_numbers_stay_apart_on_import_and_in_service(tables: Any, name: str, kind: str) -> None:
    values = COLUMNS[name]
    rows = [{"who": "a", "step": i, "do": "go", "gain": 1.0, "x": x} for i, x in enumerate(values)]
    dataset = load(getattr(tables, kind)(rows), tables.schema(observation={"x": "number"}))
    assert dataset.encoding is not None
    stored = dataset.buffer.slots.columns["observation/numbers"][:4, 0].astype(np.float64)
    np.testing.assert_array_equal(np.diff(stored), np.diff(np.array(values)))
    again = Encoding.from_json(dataset.encoding.to_json())
    for value, found in zip(values, stored, strict=True):
        for form in (value, str(value), np.float64(value)):
            assert again.row({"x": form})["numbers"][0] == found


def test_ordinary_numbers_are_kept_as_they_are(tables: Any) -> None:
    values = {
        "age": [18.0, 95.5, 40, 20],
        "price": [90.1, 110.3, 99.9, 100],
        "tail": [0.0, 1e9, 5, 3],
        "same": [7.0] * 4,
    }
    rows = [
        {"who": "a", "step": i, "do": "go", "gain": 1.0, **{name: column[i] for name, column in values.items()}}
        for i in range(4)
    ]
    dataset = load(tables.parquet(rows), tables.schema(observation=dict.fromkeys(values, "number")))
    assert dataset.encoding is not None
    assert dataset.encoding.offsets == {}
    stored = dataset.buffer.slots.columns["observation/numbers"][:4]
    np.testing.assert_array_equal(stored, np.column_stack(list(values.values())).astype(np.float32))


def test_missing_large_numbers_stay_marked_zeros(tables: Any) -> None:
    values = [1_764_000_000, None, 1_764_000_002]
    rows = [{"who": "a", "step": i, "do": "go", "gain": 1.0, "x": x} for i, x in enumerate(values)]
    dataset = load(tables.parquet(rows), tables.schema(observation={"x": "number"}))
    assert dataset.encoding is not None
    stored = dataset.buffer.slots.columns["observation/numbers"]
    assert stored[:3].tolist() == [[-1, 0], [0, 1], [1, 0]]
    assert dataset.encoding.row({"x": None})["numbers"].tolist() == [0, 1]


def test_other_data_are_read_with_the_agents_offset(tables: Any) -> None:
    def data(start: int, name: str) -> Any:
        rows = [{"who": "a", "step": i, "do": "go", "gain": 1.0, "x": start + i} for i in range(3)]
        return load(tables.parquet(rows, name), tables.schema(observation={"x": "number"}))

    agents = data(1_764_000_000, "a.parquet").encoding
    found = reencode(data(1_764_000_100, "b.parquet"), agents)
    columns = found.buffer.slots.columns["observation/numbers"]
    assert columns[:3, 0].tolist() == [99, 100, 101]
    assert columns[0, 0] == agents.row({"x": 1_764_000_100})["numbers"][0]


def test_a_vector_of_large_numbers_close_together_is_refused(tables: Any) -> None:
    rows = [{"who": "a", "step": i, "do": "go", "gain": 1.0, "v": [1.0, 1.764e9 + i]} for i in range(3)]
    with pytest.raises(DataError, match="column 'v': expected numbers that float32 can distinguish, got 1764000000 to"):
        load(tables.parquet(rows), tables.schema(observation={"v": "vector"}))


def test_integers_that_a_shift_cannot_keep_distinct_are_reported(tables: Any) -> None:
    rows = [
        {"who": "a", "step": i, "do": "go", "gain": float(i % 2), "x": x} for i, x in enumerate([0, 2**40, 2**40 + 1])
    ]
    report = analyse(load(tables.parquet(rows), tables.schema(observation={"x": "number"})))
    assert any("column 'x': integers less than 131,072 apart" in text for text in report["warnings"])


def test_the_offset_does_not_depend_on_the_order_of_the_rows() -> None:
    values = np.random.default_rng(0).integers(0, 10**7, (1_000, 1)).astype(np.float64) + 1.7e9
    one, other = Magnitudes(1), Magnitudes(1)
    for start in range(0, 1_000, 100):
        one.add(values[start : start + 100])
        other.add(values[::-1][start : start + 100])
    assert one.offset == other.offset
