"""Layouts of an exported agent's memory: what is written where, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from seqel.deployment.layouts import HiddenLayout, RingLayout, read_layout


def test_keys_and_values_are_written_into_the_slot_of_their_step() -> None:
    layout = RingLayout(layers=2, heads=1, context=3, dim=2)
    arrays = layout.empty(4)
    assert arrays["keys"].shape == arrays["values"].shape == (2, 4, 1, 3, 2)
    new = np.arange(8, dtype=np.float32).reshape(2, 2, 1, 2)  # rows, layers, heads, dim
    layout.write(arrays, np.array([3, 0]), np.array([5, 1]), [new, -new])
    assert arrays["keys"][0, 3, 0].tolist() == [[0, 0], [0, 0], [0, 1]]  # step 5 is in slot 2
    assert arrays["keys"][1, 0, 0].tolist() == [[0, 0], [6, 7], [0, 0]]
    assert np.array_equal(arrays["values"], -arrays["keys"])
    assert not arrays["keys"][:, 1:3].any()
    assert layout.keep == 2 * 2 + 1 and layout.bytes_per_row == 2 * 4 * 2 * 3 * 2


def test_a_hidden_state_is_replaced() -> None:
    layout = HiddenLayout(layers=2, width=3)
    arrays = layout.empty(3)
    new = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    layout.write(arrays, np.array([1]), np.array([9]), [new])
    assert np.array_equal(arrays["hidden"][1], new[0]) and not arrays["hidden"][[0, 2]].any()
    assert layout.keep == 0 and layout.bytes_per_row == 24


@pytest.mark.parametrize("layout", [RingLayout(2, 1, 3, 2), HiddenLayout(2, 3)])
def test_rows_are_selected_cleared_and_replaced_alone(layout: RingLayout | HiddenLayout) -> None:
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(array.shape).astype(np.float32) for name, array in layout.empty(4).items()}
    before = {name: array.copy() for name, array in arrays.items()}
    rows, axis = np.array([2, 0]), layout.row_axis
    selected = layout.select(arrays, rows)
    for name, array in selected.items():
        assert np.array_equal(array, np.take(arrays[name], rows, axis))
        array[:] = np.nan  # a copy
    layout.clear(arrays, np.array([1]))
    layout.replace(arrays, np.array([3]), layout.select(before, np.array([0])))
    for name, array in arrays.items():
        for row, expected in ((0, 0), (2, 2), (3, 0)):
            assert np.array_equal(np.take(array, row, axis), np.take(before[name], expected, axis))
        assert not np.take(array, 1, axis).any()


def test_a_layout_is_read_from_a_description() -> None:
    sizes = {"layers": 1, "heads": 2, "context": 3, "dim": 4}
    assert read_layout({"ring": sizes, "format": 2}) == RingLayout(1, 2, 3, 4)
    assert read_layout({"hidden": {"layers": 1, "width": 2}}) == HiddenLayout(1, 2)
    for damaged in ({}, {"ring": {"layers": 1}}, {"hidden": {"layers": "x", "width": 1}}, {"hidden": None}):
        with pytest.raises((LookupError, TypeError, ValueError)):
            read_layout(damaged)
