from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from seqel.datasets import encoding as encodings
from seqel.datasets.dataset import Dataset, load
from seqel.datasets.encoding import Encoding, natural
from seqel.datasets.importing import vocabulary as names
from seqel.errors import DataError
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.spaces.text_readers import hash_text


@pytest.fixture
def dataset(tables: Any) -> Dataset:
    kinds = {"x": "number", "kind": "category", "say": "text", "y": "number", "v": "vector"}
    kinds |= {"flag": "category", "n": "category"}
    return load(tables.jsonl([raw_row(row) for row in tables.rows]), tables.schema(observation=kinds))


def raw_row(row: dict[str, Any]) -> dict[str, Any]:
    step = row["step"]
    return {**row, "y": None if step == 1 else 0.5, "v": [1.0, float(step)], "flag": step > 0, "n": step}


def test_a_raw_row_is_encoded_as_the_import_does(dataset: Dataset, tables: Any) -> None:
    assert dataset.encoding is not None
    columns = dataset.buffer.slots.columns
    for row in tables.rows:
        found = dataset.encoding.row(raw_row(row))
        slot = int(dataset.buffer.table.numbers[dataset.sessions.index(row["who"]), 0]) + row["step"]
        assert set(found) == set(dataset.observation.storage)
        for path, (shape, dtype) in dataset.observation.storage.items():
            assert found[path].shape == shape
            assert found[path].dtype == dtype
            np.testing.assert_array_equal(found[path], columns[f"observation/{path}"][slot])


def test_it_goes_through_json_and_stays_the_same(dataset: Dataset) -> None:
    assert dataset.encoding is not None
    again = Encoding.from_json(json.loads(json.dumps(dataset.encoding.to_json())))
    assert again == dataset.encoding
    assert again.observation == dataset.observation
    assert again.action == dataset.action
    raw = {"x": 1, "kind": "red", "say": "hi", "y": "", "v": [1, 2], "flag": True, "n": 2}
    for path, value in again.row(raw).items():
        np.testing.assert_array_equal(value, dataset.encoding.row(raw)[path])


def test_unknown_and_missing_values_are_encoded_as_such(dataset: Dataset) -> None:
    assert dataset.encoding is not None
    raw: dict[str, Any] = {
        "x": 1,
        "kind": "never seen",
        "say": None,
        "y": float("nan"),
        "v": (1, 2),
        "flag": None,
        "more": 1,
    }
    found = dataset.encoding.row(raw)
    np.testing.assert_array_equal(found["categories"], [0, 0, 0])
    np.testing.assert_array_equal(found["numbers"], [1, 0, 1])  # x, y, and the mark that y is missing
    np.testing.assert_array_equal(found["text/say"], hash_text(""))
    assert dataset.encoding.code("n", 2) == dataset.encoding.code("n", "2") > 0
    assert dataset.encoding.code("flag", True) == dataset.encoding.code("flag", "true") > 0
    with pytest.raises(DataError, match="column 'x': expected a value, got none; it was never missing"):
        dataset.encoding.row({**raw, "x": None})
    for value in ("one", [1], 1e300, float("inf")):
        with pytest.raises(DataError, match="column 'x': expected a number"):
            dataset.encoding.row({**raw, "x": value})
    for vector in ([1], [1, "a"], [1, float("nan")], 3):
        with pytest.raises(DataError, match="column 'v': expected 2"):
            dataset.encoding.row({**raw, "v": vector})
    with pytest.raises(DataError, match="column 'v': expected a value"):
        dataset.encoding.row({**raw, "v": None})


def test_rare_categories_beyond_the_limit_are_unknown(tables: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "VOCABULARY", 2)
    dataset = load(tables.csv(tables.rows), tables.schema())
    assert dataset.encoding is not None
    assert dataset.encoding.vocabularies["kind"] == ("blue", "red")  # 2 and 5 of 8; 黄 occurs once
    codes = dataset.buffer.slots.columns["observation/categories"]
    assert sorted(set(codes[:, 0].tolist())) == [0, 1, 2]
    assert encodings.VOCABULARY == 65_536


def test_columns_of_equal_sizes_share_no_embedding(tables: Any) -> None:
    """The network shares rows between elements of equal sizes; categories of different columns must not be."""
    rows = [{**row, "other": row["kind"]} for row in tables.rows]
    schema = tables.schema(observation={"kind": "category", "other": "category"})
    dataset = load(tables.csv(rows), schema)
    assert dataset.observation.leaves[0].sizes == (5, 4)
    network = QNetwork(NetworkConfig(width=16, heads=2, layers=1, context=4), dataset.observation, dataset.action)
    assert not any("shared" in name for name, _ in network.named_parameters())


def test_names_are_sorted_as_people_do() -> None:
    assert natural(["10", "9", "-1", "2.5"]) == ["-1", "2.5", "9", "10"]
    assert natural(["item 10", "item 2", "Item", "1"]) == ["1", "Item", "item 2", "item 10"]
    assert natural(["nan", "1", "inf", "²"])[0] == "1"


def test_actions_are_in_natural_order(tables: Any) -> None:
    rows = [{**row, "do": action} for row, action in zip(tables.rows, [10, 9, 2, 2, 10, 9, 2, 1], strict=True)]
    assert load(tables.csv(rows), tables.schema()).actions == ["1", "2", "9", "10"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_missing_category_is_unknown_and_not_the_one_before_or_the_last_one(tables: Any, kind: str) -> None:
    colours = ["red", None, "blue", None, "yellow", ""]
    rows = [
        {"who": "a", "step": step, "do": "go", "gain": 1.0, "colour": colour, "size": str(step)}
        for step, colour in enumerate(colours)
    ]
    dataset = load(getattr(tables, kind)(rows), tables.schema(observation={"colour": "category", "size": "category"}))
    codes = dataset.buffer.slots.columns["observation/categories"][:6]
    assert codes[:, 0].tolist() == [2, 0, 1, 0, 3, 0]  # of blue, red, yellow
    assert codes[:, 1].tolist() == [1, 2, 3, 4, 5, 6]
    assert dataset.report["missing"]["colour"] == 3
