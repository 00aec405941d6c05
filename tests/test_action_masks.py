"""Masks of several actions at once: the forms that are read, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from seqel.action_masks import mask_space, read_action_mask, require_some
from seqel.errors import SpaceError
from seqel.spaces import ActionSpec

THREE = ActionSpec((2, 3, 1), (0, 0, 0))
PADDED = [[[1, 0, 0], [0, 1, 1], [1, 0, 0]], [[0, 1, 0], [1, 1, 1], [1, 0, 0]]]  # two rows
EVEN = ActionSpec((2, 2), (0, 0))


@pytest.mark.parametrize(
    "mask",
    [
        ([1, 0], [0, 1, 1], [1]),
        [[1, 0], [0, 1, 1], [1]],
        (np.array([True, False]), np.array([0, 1, 1]), np.array([1.0])),
        np.array(PADDED[0]),
        PADDED[0],
        np.array([1, 0, 0, 1, 1, 1]),
    ],
    ids=["tuple", "list", "arrays", "padded", "padded list", "end to end"],
)
def test_the_forms_of_one_mask_are_the_same(mask: Any) -> None:
    assert read_action_mask(mask, THREE).astype(int).tolist() == PADDED[0]


@pytest.mark.parametrize(
    "mask",
    [
        (np.array([[1, 0], [0, 1]]), np.array([[0, 1, 1], [1, 1, 1]]), np.array([[1], [1]])),
        np.array(PADDED),
        PADDED,
        np.array([[1, 0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 1]]),
    ],
    ids=["tuple", "padded", "padded list", "end to end"],
)
def test_the_forms_of_two_rows_are_the_same(mask: Any) -> None:
    assert read_action_mask(mask, THREE, 2).astype(int).tolist() == PADDED


def test_where_sizes_are_equal_a_list_of_lists_is_read_by_dimension() -> None:
    assert read_action_mask([[1, 0], [0, 1]], EVEN).tolist() == [[True, False], [False, True]]
    rows = [[[1, 0], [0, 1]], [[1, 1], [0, 1]]]
    assert read_action_mask(rows, EVEN, 2).astype(int).tolist() == rows


@pytest.mark.parametrize(
    ("mask", "names"),
    [
        (([1, 0], [0, 1], [1]), "dimension 1: .*expected 3 yes/no values"),
        (([1, 0], [0, 2, 1], [1]), "dimension 1: .*got"),
        (([1, 0], [0, 1, 1]), "expected"),
        (np.ones((3, 3)), "False beyond the 2 actions of dimension 0"),
        (np.ones((3, 2)), "expected 3 x 3 yes/no values"),
        ([1, 0, 1], "expected 6 yes/no values"),
        ([0, 2], "expected 6 yes/no values"),
        (1, "expected 3 x 3"),
        ("111", "expected"),
        ({0: [1, 0]}, "expected"),
    ],
    ids=str,
)
def test_what_is_no_mask_of_these_dimensions_is_refused(mask: Any, names: str) -> None:
    with pytest.raises(SpaceError, match=names):
        read_action_mask(mask, THREE)


def test_one_dimension_is_read_as_ever() -> None:
    one = ActionSpec((3,), (0,))
    assert read_action_mask([1, 0, 1], one).tolist() == [True, False, True]
    with pytest.raises(SpaceError, match="expected 3 yes/no"):
        read_action_mask([[1, 0, 1]], one)


def test_a_dimension_that_allows_nothing_is_named() -> None:
    mask = np.array(PADDED, bool)
    require_some(mask, THREE)
    mask[1, 2] = False
    with pytest.raises(SpaceError, match=r"rows \[1\] allow no action at all in dimension 2"):
        require_some(mask, THREE)


@pytest.mark.parametrize(
    "part",
    [
        spaces.Tuple([spaces.MultiBinary(2), spaces.MultiBinary(3), spaces.MultiBinary(1)]),
        spaces.MultiBinary(6),
        spaces.MultiBinary([3, 3]),
        spaces.Box(0, 1, (3, 3), np.int8),
    ],
    ids=str,
)
def test_masks_may_stand_in_the_observation(part: spaces.Space[Any]) -> None:
    assert mask_space(spaces.Dict({"see": spaces.Discrete(2), "action_mask": part}), THREE)


@pytest.mark.parametrize(
    "part", [spaces.MultiBinary(5), spaces.Discrete(2), spaces.Tuple([spaces.MultiBinary(2)] * 3)], ids=str
)
def test_another_part_of_that_name_is_refused(part: spaces.Space[Any]) -> None:
    with pytest.raises(SpaceError, match="a Tuple of 3 MultiBinary spaces of 2, 3, 1 values"):
        mask_space(spaces.Dict({"action_mask": part}), THREE)
