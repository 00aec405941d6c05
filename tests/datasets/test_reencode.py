"""A table in the codes of another import: an agent keeps the vocabularies that it was trained with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seqel.datasets.dataset import load
from seqel.datasets.reencode import reencode
from seqel.errors import DataError


def changed(rows: list[dict[str, Any]], **names: dict[str, str]) -> list[dict[str, Any]]:
    return [{key: names.get(key, {}).get(value, value) for key, value in row.items()} for row in rows]


def test_the_same_encoding_is_the_dataset_itself(tables: Any) -> None:
    one = load(tables.csv(tables.rows), tables.schema())
    assert one.encoding is not None and reencode(one, one.encoding) is one


def test_codes_become_those_of_the_agent_and_unknown_ones_unknown(tables: Any) -> None:
    agent = load(tables.csv(tables.rows, "agent.csv"), tables.schema())
    assert agent.encoding is not None
    assert agent.encoding.vocabularies["kind"] == ("blue", "red", "黄") and agent.actions == ["go", "stay"]
    # "blue" never occurs, "azure" is new, and "stay" never occurs: codes and actions have other numbers
    rows = changed([row for row in tables.rows if row["do"] == "go"], kind={"blue": "azure"})
    other = load(tables.csv(rows, "other.csv"), tables.schema())
    assert other.actions == ["go"]
    seen = reencode(other, agent.encoding)
    assert seen.observation == agent.observation and seen.action == agent.action
    expected = {"red": 2, "azure": 0, "黄": 3}
    for number, name in enumerate(other.sessions):
        slot, length = seen.buffer.table.numbers[number, :2].tolist()
        kinds = [expected[row["kind"]] for row in rows if row["who"] == name]
        codes = seen.buffer.slots.columns["observation/categories"][slot : slot + length, 0]
        assert codes.tolist() == kinds[:length]
    assert (seen.buffer.actions() == 0).all()


def test_sessions_with_unknown_actions_are_left_out(tables: Any) -> None:
    agent = load(tables.csv([row for row in tables.rows if row["do"] == "go"], "agent.csv"), tables.schema())
    whole = load(tables.csv(tables.rows, "whole.csv"), tables.schema())
    assert agent.encoding is not None
    seen = reencode(whole, agent.encoding)
    stayed = {row["who"] for row in tables.rows if row["do"] == "stay"}
    assert seen.buffer.episodes == whole.buffer.episodes - len(stayed)
    only = load(tables.csv(changed(tables.rows, do={"go": "run", "stay": "run"}), "run.csv"), tables.schema())
    with pytest.raises(DataError, match="actions, got none"):
        reencode(only, agent.encoding)


def test_marks_of_what_is_missing_follow_the_agents_columns(tables: Any) -> None:
    schema = tables.schema(observation={"x": "number", "y": "number"})
    full = [row | {"y": 1.0} for row in tables.rows]
    holes = [row | {"y": None if row["step"] == 1 else 1.0} for row in tables.rows]
    agent, other = load(tables.csv(holes, "holes.csv"), schema), load(tables.csv(full, "full.csv"), schema)
    assert agent.encoding is not None and other.encoding is not None
    values = reencode(other, agent.encoding).buffer.slots.columns["observation/numbers"]
    assert values.shape[1] == 3 and (values[:, 2] == 0.0).all()
    np.testing.assert_array_equal(values[:, :2], other.buffer.slots.columns["observation/numbers"])
    with pytest.raises(DataError, match="'y': missing in"):
        reencode(agent, other.encoding)


def test_other_columns_are_refused(tables: Any) -> None:
    agent = load(tables.csv(tables.rows, "a.csv"), tables.schema())
    other = load(tables.csv(tables.rows, "b.csv"), tables.schema(observation={"x": "number"}))
    assert agent.encoding is not None
    with pytest.raises(DataError, match="expected the columns that the agent observes"):
        reencode(other, agent.encoding)
