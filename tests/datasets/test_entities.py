"""Columns of entities: the same store from every format, empty and missing sets, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from seqel.datasets.dataset import load
from seqel.datasets.encoding import Encoding
from seqel.datasets.inspection.propose import propose
from seqel.datasets.schema import Schema
from seqel.errors import ConfigError, DataError

SETS = [[[1.0, 2.0], [3.0, 4.0]], [], [[5.0, 6.0]], None]


def rows_of(tables: Any, sets: Any = SETS) -> list[dict[str, Any]]:
    return [{**row, "birds": sets[row["step"]]} for row in tables.rows]


def schema_of(tables: Any, **changes: Any) -> Schema:
    schema: Schema = tables.schema(observation={"x": "number", "birds": "entities"}, most_entities=3, **changes)
    return schema


def test_every_format_gives_the_same_padded_sets(tables: Any) -> None:
    rows, schema = rows_of(tables), schema_of(tables)
    text = [{**row, "birds": None if row["birds"] is None else json.dumps(row["birds"])} for row in rows]
    found = [load(tables.parquet(rows), schema), load(tables.jsonl(rows), schema), load(tables.csv(text), schema)]
    for dataset in found:
        leaf = np.array(dataset.buffer.slots.columns["observation/entities/birds"])
        assert leaf.dtype == np.float32 and leaf.shape[1:] == (3, 3)
        at = dataset.buffer.table.numbers[dataset.sessions.index("cé"), 0]
        np.testing.assert_array_equal(leaf[at], [[1, 2, 1], [3, 4, 1], [0, 0, 0]])
        np.testing.assert_array_equal(leaf[at + 2], [[5, 6, 1], [0, 0, 0], [0, 0, 0]])
        assert not leaf[[at + 1, at + 3]].any(), "empty and missing sets"
        np.testing.assert_array_equal(leaf, found[0].buffer.slots.columns["observation/entities/birds"])
    assert str(found[0].observation.leaves[1]) == "entities/birds: entities [3, 3] float32"


def test_a_raw_row_is_read_as_the_import_read_it(tables: Any) -> None:
    dataset = load(tables.jsonl(rows_of(tables)), schema_of(tables))
    assert dataset.encoding is not None
    encoding = Encoding.from_json(json.loads(json.dumps(dataset.encoding.to_json())))
    assert encoding == dataset.encoding
    seen = encoding.rows([{"x": 0.0, "birds": one} for one in SETS])["entities/birds"]
    at = dataset.buffer.table.numbers[dataset.sessions.index("cé"), 0]
    np.testing.assert_array_equal(seen, dataset.buffer.slots.columns["observation/entities/birds"][at : at + 4])
    for bad, says in (([[1.0]], "2 numbers each"), ([[1.0, 2.0]] * 4, "at most 3"), ([[1.0, None]], "finite|rows of")):
        with pytest.raises(DataError, match=rf"column 'birds': .*({says})"):
            encoding.row({"x": 0.0, "birds": bad})


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        (
            [[[1.0, 2.0]], [[1.0]], [], []],
            "line 2, column 'birds': expected a list of entities.*: 2, as in the first row",
        ),
        ([[[1.0, 2.0]], [[1.0, None]], [], []], "line 2, column 'birds': expected .* each of them finite"),
        ([[[1.0, 2.0]] * 4, [], [], []], "line 1, column 'birds': expected at most 3 entities .*most_entities.* not 4"),
        ([[], [], [], []], "at least one of them in one of the first rows"),
        ([1, 2, 3, 4], "column 'birds': expected a list of entities"),
    ],
)
def test_what_is_no_set_is_refused_with_its_place(tables: Any, sets: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        load(tables.jsonl(rows_of(tables, sets)), schema_of(tables))


def test_a_csv_cell_that_is_no_json_is_refused(tables: Any) -> None:
    rows = rows_of(tables, ["[[1, 2]]", "[[1, 2", "", ""])
    with pytest.raises(DataError, match=r"line 3, column 'birds': expected .* such as"):
        load(tables.csv(rows), schema_of(tables))


def test_the_number_of_entities_is_a_positive_number_and_left_out_where_usual(tables: Any) -> None:
    with pytest.raises(ConfigError, match="most_entities of at least 1"):
        tables.schema(most_entities=0)
    assert "most_entities" not in tables.schema().to_json()
    assert Schema.from_json(schema_of(tables).to_json()) == schema_of(tables)


def test_a_column_of_lists_of_lists_is_proposed_as_entities(tables: Any) -> None:
    rows = [{**row, "session": row["who"], "action": row["do"], "reward": row["gain"]} for row in rows_of(tables)]
    text = [{**row, "birds": json.dumps(row["birds"] or [])} for row in rows]
    for path in (tables.parquet(rows), tables.csv(text)):
        assert propose(path).schema.observation["birds"] == "entities"
