"""Tables with several action columns: imported, masked, refused, and in an agent's own codes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from seqel.datasets.dataset import load
from seqel.datasets.encoding import Encoding
from seqel.datasets.inspection.analysis import analyse
from seqel.datasets.reencode import reencode
from seqel.datasets.schema import Schema
from seqel.errors import ConfigError, DataError

COLUMNS = {"action": ["dose", "fluid"], "observation": {"x": "number"}}
DOSES, FLUIDS = ("none", "low", "high"), ("no", "yes")
ROWS: list[dict[str, Any]] = [
    {
        "who": who, "step": step, "x": 1.0 * step, "dose": DOSES[(step + len(who)) % 3], "fluid": FLUIDS[step % 2],
        "gain": 0.5 * step, "dose_ok": [True, True, True], "fluid_ok": [True, True],
    }
    for who, steps in (("ann", 3), ("bo", 1), ("chris", 4))
    for step in range(steps)
]  # fmt: skip
NAMES = {"actions": [list(DOSES), list(FLUIDS)]}
MASKED = {**COLUMNS, **NAMES, "mask": ["dose_ok", "fluid_ok"]}


def of(data: Any) -> dict[str, list[list[int]]]:
    """Session -> its actions."""
    found = {}
    for number, name in enumerate(data.sessions):
        slot, length = data.buffer.table.numbers[number, :2].tolist()
        found[name] = data.buffer.slots.columns["action"][slot : slot + length].tolist()
    return found


def expected(doses: tuple[str, ...] = DOSES, fluids: tuple[str, ...] = FLUIDS) -> dict[str, list[list[int]]]:
    out: dict[str, list[list[int]]] = {}
    for row in ROWS:
        out.setdefault(row["who"], []).append([doses.index(row["dose"]), fluids.index(row["fluid"])])
    return out


def test_every_column_is_a_dimension(tables: Any) -> None:
    data = load(tables.parquet(ROWS), tables.schema(**COLUMNS))
    assert data.action.sizes == (3, 2) and data.encoding is not None
    assert data.encoding.names == (("high", "low", "none"), ("no", "yes"))
    assert of(data) == expected(doses=("high", "low", "none"))
    assert data.encoding.action_of(np.array([2, 1])) == {"dose": "none", "fluid": "yes"}
    assert data.buffer.table.numbers.shape[1] == 6


def test_the_order_of_the_names_is_the_schemas_and_survives_being_kept(tables: Any) -> None:
    schema = tables.schema(**COLUMNS, **NAMES)
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema
    data = load(tables.parquet(ROWS), schema)
    assert of(data) == expected() and data.encoding is not None
    assert Encoding.from_json(json.loads(json.dumps(data.encoding.to_json()))) == data.encoding
    again = load(tables.directory / "t.parquet", schema)
    assert of(again) == expected(), "from the store"


def test_each_column_has_a_mask_of_its_own(tables: Any) -> None:
    rows = [row | {"fluid_ok": [row["fluid"] == "no", row["fluid"] == "yes"]} for row in ROWS]
    rows[0] = rows[0] | {"dose_ok": None}
    data = load(tables.parquet(rows), tables.schema(**MASKED))
    mask = data.buffer.slots.columns["action_mask"]
    assert mask.shape[1:] == (2, 3)
    assert not mask[:, 1, 2].any(), "the second has two actions"
    assert mask[:, 0].all(), "what is not said is allowed"
    own = np.asarray(data.buffer.slots.columns["by_agent"])
    actions = np.asarray(data.buffer.slots.columns["action"])[own]
    assert (mask[own][:, 1, :2].sum(axis=1) == 1).all()
    assert mask[own][np.arange(len(actions)), 1, actions[:, 1]].all()


def test_a_mask_that_forbids_what_was_done_in_one_column_is_refused(tables: Any) -> None:
    rows = [dict(row) for row in ROWS]
    rows[2]["fluid_ok"] = [False, True]  # at step 2 it was "no"
    with pytest.raises(DataError, match=r"dose_ok, fluid_ok.*expected a mask that allows the action taken"):
        load(tables.parquet(rows), tables.schema(**MASKED))
    rows = [row | {"dose_ok": [True, True]} for row in ROWS]
    with pytest.raises(DataError, match="the action mask has 2 values per row, but there are 3 actions"):
        load(tables.parquet(rows, "wide.parquet"), tables.schema(**MASKED))


def test_an_action_that_is_missing_in_one_column_is_named(tables: Any) -> None:
    rows = [dict(row) for row in ROWS]
    rows[1]["fluid"] = None
    with pytest.raises(DataError, match="column 'fluid': expected a value, got nothing"):
        load(tables.parquet(rows), tables.schema(**COLUMNS))


def test_a_last_row_without_actions_and_reward_is_a_final_observation(tables: Any) -> None:
    rows = [*ROWS, {**ROWS[-1], "step": 9, "dose": None, "fluid": None, "gain": None}]
    data = load(tables.parquet(rows), tables.schema(**COLUMNS))
    assert of(data) == expected(doses=("high", "low", "none")) and data.report["final_rows"] == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"action": ["dose"]}, "a list of at least two"),
        ({"action": ["dose", "dose"]}, "names a column twice"),
        ({"mask": "dose_ok"}, "expected mask to be a list of 2 columns"),
        ({"mask": ["a", "b", "c"]}, "expected mask to be a list of 2 columns"),
        ({"actions": ["none", "low"]}, "expected actions to be 2 lists"),
        ({"actions": [["none"], ["no", "no"]]}, "expected actions to be 2 lists of different texts"),
        ({"candidates": "offered", **NAMES}, "candidates is for a single action column"),
        ({"observation": {"fluid": "category"}}, "column 'fluid' is both the action and an observation"),
        ({"reward": "dose"}, "column 'dose' is both action and reward"),
    ],
    ids=str,
)
def test_what_does_not_fit_together_is_refused(tables: Any, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        tables.schema(**{**COLUMNS, **changes})


def test_actions_become_those_of_the_agent(tables: Any) -> None:
    agent = load(tables.parquet(ROWS, "agent.parquet"), tables.schema(**MASKED))
    other = load(tables.parquet(ROWS, "other.parquet"), tables.schema(**COLUMNS, mask=["dose_ok", "fluid_ok"]))
    assert agent.encoding is not None and of(other) == expected(doses=("high", "low", "none"))
    seen = reencode(other, agent.encoding)
    assert sorted(seen.buffer.actions().tolist()) == sorted(agent.buffer.actions().tolist())
    assert not seen.buffer.slots.columns["action_mask"][:, 1, 2].any()
    single = load(tables.parquet(ROWS, "single.parquet"), tables.schema(action="dose", observation={"x": "number"}))
    with pytest.raises(DataError, match="expected the action columns that the agent was trained on"):
        reencode(single, agent.encoding)
    rare = [row | {"fluid": "much"} if row["who"] == "bo" else row for row in ROWS]
    left = reencode(load(tables.parquet(rare, "rare.parquet"), tables.schema(**COLUMNS)), agent.encoding)
    assert left.buffer.episodes == 2


def test_the_analysis_counts_each_column(tables: Any) -> None:
    found = analyse(load(tables.parquet(ROWS), tables.schema(**COLUMNS)))
    counts = {one["name"]: one["count"] for one in found["actions"]}
    assert counts["fluid = no"] == 5 and counts["fluid = yes"] == 3
    assert sum(count for name, count in counts.items() if name.startswith("dose = ")) == 8
    assert found["trained_on"]["actions"] == [3, 2]
