"""A recorded session becomes a trace of exactly its rows, whatever their order in the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from seqel.datasets.dataset import load
from seqel.datasets.schema import Schema
from seqel.errors import DataError
from seqel.explanation.attribute import attribute
from seqel.explanation.recorded import find_session, session_rows, trace_session
from support_explanation import make_agent

pytest.importorskip("polars")
SCHEMA = Schema("who", "did", "got", {"age": "number", "said": "text"}, order="at")
ROWS = """who,at,age,said,did,got
bo,10,7,last,b,0.5
ann,2,4,second,b,2
bo,9,6,first,a,1
ann,1,3,"one, two",a,0
ann,10,5,third,c,-1
"""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "table.csv").write_text(ROWS)
    return tmp_path / "table.csv"


def test_a_session_is_found_by_its_name(table: Path) -> None:
    data = load(table, SCHEMA)
    place, name = find_session(data, "ann")
    assert name == "ann" and find_session(data, None)[1] == data.sessions[0]
    trace = trace_session(data.buffer, place)
    assert trace.action.tolist() == [0, 1, 2] and trace.reward.tolist() == [0, 2, -1] and trace.start == 0
    np.testing.assert_array_equal(trace.observation["numbers"][:3, 0], [3, 4, 5])
    rows = session_rows([table], SCHEMA, "ann")
    assert [row["said"] for row in rows] == ["one, two", "second", "third"]  # 10 after 2: a number, not a text
    assert set(rows[0]) == {"age", "said"}
    with pytest.raises(DataError, match="did you mean 'ann'"):
        find_session(data, "anna")
    with pytest.raises(DataError, match="expected 0 to 1, got 2"):
        trace_session(data.buffer, 2)


def test_the_latest_steps_of_a_long_session_are_the_same_decisions(table: Path) -> None:
    data = load(table, SCHEMA)
    place = find_session(data, "ann")[0]
    whole, part = trace_session(data.buffer, place), trace_session(data.buffer, place, limit=2)
    assert part.start == 1 and part.previous_action.tolist() == [0] and part.previous_reward == 0.0  # type: ignore[union-attr]
    agent = make_agent((3,), data.observation, context=2, layers=1)
    np.testing.assert_allclose(
        attribute(agent, part, "attention", [1])[0], attribute(agent, whole, "attention", [2])[0, 1:], atol=1e-6
    )
