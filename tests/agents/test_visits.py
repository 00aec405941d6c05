"""Novelty of observations, counted by hand."""

from __future__ import annotations

import numpy as np

from seqel.agents.visits import FAMILIAR, REMEMBERED, VisitCounts
from seqel.types import SEEN_BEFORE

ROWS = np.array([0, 1])


def test_an_observation_is_new_once_per_episode_and_environment() -> None:
    visits = VisitCounts(2)
    visits.begin(np.array([5, 6]), ROWS)
    assert visits.reach(np.array([5, 5]), ROWS).tolist() == [SEEN_BEFORE, 5], "the first observation is not a visit"
    assert visits.reach(np.array([7, 5]), ROWS).tolist() == [7, SEEN_BEFORE]
    assert visits.reach(np.array([7]), ROWS[:1]).tolist() == [SEEN_BEFORE]
    visits.begin(np.array([5]), ROWS[:1])
    assert visits.reach(np.array([7, 6]), ROWS).tolist() == [7, SEEN_BEFORE], "only the first row's episode is new"
    assert visits.episodes[[5, 6, 7]].tolist() == [1, 0, 2]


def test_two_environments_that_reach_the_same_are_both_counted() -> None:
    visits = VisitCounts(2)
    visits.begin(np.array([0, 0]), ROWS)
    assert visits.reach(np.array([9, 9]), ROWS).tolist() == [9, 9] and visits.episodes[9] == 2


def test_novelty_fades_with_the_root_of_the_episodes() -> None:
    visits = VisitCounts(1)
    visits.episodes[[1, 2, 3]] = [1, FAMILIAR, 4 * FAMILIAR]
    codes = np.array([[1, 2, 3], [SEEN_BEFORE, 3, SEEN_BEFORE]], np.int32)
    np.testing.assert_allclose(visits.novelty(codes), [[1, 1, 0.5], [0, 0.5, 0]])


def test_restored_counts_continue_like_the_saved_ones() -> None:
    rng = np.random.default_rng(0)
    one, other = VisitCounts(2), VisitCounts(2)
    for visits in (one, other):
        visits.begin(np.array([1, 2]), ROWS)
    for _ in range(30):
        one.reach(rng.integers(0, 40, 2), ROWS)
    other.reach(np.array([100_000, REMEMBERED + 3]), ROWS)  # is replaced
    other.load_state_dict(one.state_dict())
    np.testing.assert_array_equal(one.episodes, other.episodes)
    for _ in range(30):
        codes = rng.integers(0, 80, 2)
        np.testing.assert_array_equal(one.reach(codes, ROWS), other.reach(codes, ROWS))
