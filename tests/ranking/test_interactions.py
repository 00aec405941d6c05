"""Interactions: sorted by user and time, split without the future, and what is wrong is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seqel.errors import DataError
from seqel.ranking.interactions import Interactions


def some() -> Interactions:
    return Interactions.of(
        user=["b", "a", "b", "a", "b", "c", "a", "b"],
        item=[10, 20, 30, 10, 20, 40, 30, 40],
        time=[5, 1, 2, 9, 7, 3, 4, 7],
        rating=[1, 2, 3, 4, 5, 6, 7, 8],
    )


def test_they_are_sorted_by_user_and_time() -> None:
    data = some()
    assert data.users == ("a", "b", "c") and data.items == (10, 20, 30, 40) and len(data) == 8
    assert data.user.tolist() == [0, 0, 0, 1, 1, 1, 1, 2]
    assert data.item.tolist() == [1, 2, 0, 2, 0, 1, 3, 3]  # of b, 20 and 40 at the same time, in the order given
    assert data.rating.tolist() == [2, 7, 4, 3, 1, 5, 8, 6] and data.rating.dtype == np.float32
    assert data.starts.tolist() == [0, 3, 7, 8] and data.counts.tolist() == [2, 2, 2, 2]
    assert repr(data) == "Interactions(8 of 3 users with 4 items)"


def test_without_times_the_order_is_that_of_the_rows() -> None:
    data = Interactions.of([1, 2, 1, 1], ["x", "y", "z", "x"])
    assert data.item.tolist() == [0, 2, 0, 1] and data.time.tolist() == [0, 1, 2, 0]
    assert data.rating.tolist() == [1, 1, 1, 1]


def test_a_catalogue_may_have_items_that_never_occur() -> None:
    data = Interactions.of([1, 1], ["x", "y"], items=["w", "y", "x"])
    assert data.items == ("w", "y", "x") and data.item.tolist() == [2, 1] and data.counts.tolist() == [0, 1, 1]


def test_leave_one_out() -> None:
    split = some().leave_one_out()
    assert split.train.user.tolist() == [0, 1, 1, 2] and split.train.item.tolist() == [1, 2, 0, 3]
    assert [one.tolist() for one in split.validation.histories()] == [[1], [2, 0]]
    assert [one.tolist() for one in split.validation.targets()] == [[2], [1]]
    assert [one.tolist() for one in split.test.histories()] == [[1, 2], [2, 0, 1]]
    assert [one.tolist() for one in split.test.targets()] == [[0], [3]]
    assert split.test.user.tolist() == [0, 1] and len(split.test) == 2  # c has too few


def test_a_split_by_time() -> None:
    split = some().split_at(4, 7)
    assert split.train.time.max() < 4 and split.train.item.tolist() == [1, 2, 3]
    # a has 20 before 4 and 30 from 4 on; b has 30 before and 10 from 4 on; what comes at 7 itself is for the test
    assert [one.tolist() for one in split.validation.targets()] == [[2], [0]]
    assert [one.tolist() for one in split.test.histories()] == [[1, 2], [2, 0]]
    assert [one.tolist() for one in split.test.targets()] == [[0], [1, 3]]
    whole = sum(len(one) for part in (split.validation, split.test) for one in part.targets())
    assert whole + len(split.train) == len(some())


@pytest.mark.parametrize(
    ("times", "message"),
    [((7, 4), "expected a time for validation before that of the test"), ((0, 5), "to train on, got none")],
)
def test_times_that_leave_nothing(times: tuple[float, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        some().split_at(*times)


def test_parts_and_choices_of_questions() -> None:
    test = some().leave_one_out().test
    assert [part.user.tolist() for part in test.parts(1)] == [[0], [1]]
    assert test.subset(np.array([False, True])).targets()[0].tolist() == [3]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user": [], "item": []}, "expected at least one, got none"),
        ({"user": [1, 2], "item": [1]}, "expected columns of one length"),
        ({"user": [1, 2], "item": [1, 2], "time": [1, np.nan]}, "time: expected finite numbers, got nan in row 1"),
        ({"user": [1, 2], "item": [1, 2], "rating": ["a", "b"]}, "rating: expected numbers"),
        ({"user": [1, 2], "item": [1, 2], "items": [1, 3]}, "row 1: item 2 is not in the catalogue of 2"),
        ({"user": [1], "item": [1], "items": [1, 3, 1]}, "catalogue: expected each item once, got 1 twice"),
    ],
)
def test_what_is_wrong_is_named(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Interactions.of(**columns)


def test_a_user_with_very_many_interactions() -> None:
    data = Interactions.of(np.zeros(100_000, np.int64), np.arange(100_000) % 50)
    split = data.leave_one_out()
    assert len(split.train) == 99_998 and split.test.targets()[0].tolist() == [49]


def test_mean_ratings_of_the_next_items() -> None:
    data = Interactions.of([0, 0, 0, 1, 1], [5, 6, 7, 5, 6], [1, 2, 3, 1, 2], [1.0, 2.0, 5.0, 4.0, 3.0])
    split = data.split_at(1.5, 1.6)
    assert split.test.ratings().tolist() == [3.5, 3.0]
    assert data.leave_one_out().test.ratings().tolist() == [5.0]
