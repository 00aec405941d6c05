"""What `Agent.act` accepts for its arguments, and what it reads from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from seqel.agents.arguments import (
    read_candidates,
    read_mask,
    read_previous_action,
    read_row_values,
    read_rows,
)
from seqel.errors import ConfigError, SpaceError
from seqel.spaces import ActionSpec

FROM_FIVE = ActionSpec((3,), (5,))
TWO = ActionSpec((3, 2), (0, 1))


def test_one_number_counts_for_every_row_and_lists_and_tensors_are_read() -> None:
    assert read_row_values("reward", 2, np.float32, 3).tolist() == [2.0, 2.0, 2.0]
    assert read_row_values("reward", [1, 2.5], np.float32, 2).tolist() == [1.0, 2.5]
    assert read_row_values("first", torch.tensor([0, 1]), np.bool_, 2).tolist() == [False, True]


@pytest.mark.parametrize("value", ["12", ["1", "2"], [None, 1], [[1.0], [2.0, 3.0]], {"reward": 1.0}])
def test_what_is_not_numbers_is_refused(value: Any) -> None:
    with pytest.raises(SpaceError, match="expected numbers"):
        read_row_values("reward", value, np.float32, 2)


def test_actions_are_counted_from_zero_with_an_axis_of_dimensions() -> None:
    assert read_previous_action([5, 7], FROM_FIVE, 2).tolist() == [[0], [2]]
    assert read_previous_action([[2, 1], [0, 2]], TWO, 2).tolist() == [[2, 0], [0, 1]]
    with pytest.raises(SpaceError, match="actions of the action space"):
        read_previous_action([[2, 0], [0, 2]], TWO, 2)


def test_a_mask_gets_an_axis_of_dimensions_and_must_allow_something() -> None:
    assert read_mask([[1, 0, 1]], FROM_FIVE, 1).tolist() == [[[True, False, True]]]
    with pytest.raises(SpaceError, match=r"rows \[1\] allow no action"):
        read_mask(np.array([[True, True, True], [False] * 3]), FROM_FIVE, 2)


def test_candidates_are_numbers_and_padding() -> None:
    codes, there = read_candidates(np.array([[7, 5], [6, -1]]), FROM_FIVE, 2)
    assert codes.tolist() == [[2, 0], [1, 0]] and there.tolist() == [[[True, True]], [[True, False]]]
    with pytest.raises(ConfigError, match="one action dimension"):
        read_candidates(np.array([[1, 2]]), TWO, 1)


def test_rows_are_distinct_rows_of_a_state() -> None:
    assert read_rows([2, 0], 3).tolist() == [2, 0]
    for rows, size in (([3], 3), ([-1], 3), ([1, 1], 3), ([0.5], 3), ([0], None)):
        with pytest.raises(SpaceError, match="rows: expected"):
            read_rows(rows, size)
