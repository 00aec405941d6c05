"""Rows: groups stay together, thousands of companies fit, and what is observed is what the environment shows."""

from __future__ import annotations

import math

import numpy as np

from seqel.watching.messages import Message
from seqel.watching.rows import Rows


def some(*names: str) -> list[Message]:
    return [Message(0.0, name, "", group=name[0] if name[0] in "gh" else "") for name in names]


def test_groups_share_rows() -> None:
    rows = Rows(width=2)
    found = rows.places_of(some("a", "g1", "b", "h1", "g2", "c", "g3", "a")).tolist()
    assert found == [[0, 0], [1, 0], [2, 0], [3, 0], [1, 1], [4, 0], [5, 0], [0, 0]]
    assert rows.capacity == 6 and rows.alone == {0, 2, 4}
    rows.places_of(some("h2", "d", "e"))
    assert rows.places["h2"] == (3, 1) and rows.places["e"] == (7, 0) and rows.capacity == 9
    other = Rows(width=1)
    other.restore(rows.state())
    assert other.places == rows.places and other.places_of(some("g4"))[0].tolist() == [5, 1]
    assert other.alone == rows.alone == {0, 2, 4, 6, 7}


def test_ten_thousand_companies() -> None:
    rows = Rows(width=8)
    found = rows.places_of([Message(0.0, str(number), "", group=str(number // 16)) for number in range(10_000)])
    assert len(np.unique(found, axis=0)) == 10_000 and found[:, 0].max() == 1_249 and rows.capacity == 1_250
    found = rows.places_of([Message(0.0, f"single {number}", "") for number in range(10_000)])
    assert found[:, 0].tolist() == list(range(1_250, 11_250)) and not found[:, 1].any()


def test_what_is_observed() -> None:
    rows = Rows(width=2)
    rows.places_of(some("g1", "h1", "g2"))
    first = rows.observe(np.array([[0, 0], [1, 0]]), np.array([10.0, 11.0]))
    assert first["gap"].tolist() == [[0.0], [0.0]] and first["same"].tolist() == [[20.0], [20.0]]
    rows.alerted[0, 0] = 10.5
    second = rows.observe(np.array([[0, 1]]), np.array([12.0]))
    third = rows.observe(np.array([[0, 0]]), np.array([13.0]))
    assert second["same"].tolist() == [[20.0]] and second["company"].tolist() == [1]
    np.testing.assert_allclose(second["gap"], [[math.log1p(2.0)]])
    np.testing.assert_allclose([third[name][0, 0] for name in ("gap", "same")], np.log1p([1.0, 3.0]), rtol=1e-6)
    assert third["alerted"].tolist() == [[20.0]]  # the agent is not shown its alerts
    assert first["gap"].dtype == np.float32
