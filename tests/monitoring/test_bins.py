"""Bins and the population stability index, against numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seqel.monitoring.bins import Bins, indices, psi, severity


def test_deciles_hold_a_tenth_each_and_far_values_have_bins_of_their_own() -> None:
    rows = np.arange(1_000.0)[:, None]
    bins = Bins.of(rows, ["number"])
    assert bins.limits[0] == pytest.approx((-999, *(np.arange(1, 10) * 99.9), 1998))
    counts = bins.counts(bins.index(rows))[0]
    assert counts.tolist() == [0, *[100] * 10, 0, 0]
    assert bins.index(np.array([[-1e9], [1e9], [np.nan], [np.inf]]))[:, 0].tolist() == [0, 11, bins.missing, 11]
    assert bins.labels(0)[0] == "below -999" and len(bins.labels(0)) == 12


def test_few_distinct_numbers_have_a_bin_each() -> None:
    rows = np.array([0.0, 0.0, 1.0, 4.0])[:, None]
    bins = Bins.of(rows, ["number"])
    assert bins.limits[0] == (-0.5, 0.5, 2.5, 4.5)
    assert bins.index(np.array([[0.0], [1.0], [4.0], [-3.0], [40.0]]))[:, 0].tolist() == [1, 2, 3, 0, 4]
    constant = Bins.of(np.full((5, 1), 7.0), ["number"])
    assert constant.index(np.array([[7.0], [7.1], [6.9]]))[:, 0].tolist() == [1, 2, 0]


def test_a_number_that_is_very_frequent_has_a_bin_of_its_own() -> None:
    rows = np.concatenate([np.zeros(600), np.arange(1.0, 401.0)])[:, None]
    bins = Bins.of(rows, ["number"])
    alone = bins.index(np.zeros((1, 1)))[0, 0]
    assert bins.counts(bins.index(rows))[0, alone] == 600
    assert bins.index(np.array([[1e-9]]))[0, 0] == alone + 1


def test_categories_are_bins_by_their_code_and_new_ones_are_other() -> None:
    rows = np.array([3.0, 3.0, 7.0, 0.0, np.nan])[:, None]
    bins = Bins.of(rows, ["category"])
    assert bins.limits[0] == (0, 3, 7) and bins.labels(0) == ["0", "3", "7", "other"]
    assert bins.index(np.array([[7.0], [0.0], [5.0], [np.nan]]))[:, 0].tolist() == [2, 0, 3, bins.missing]
    many = Bins.of(np.repeat(np.arange(100.0), np.arange(1, 101))[:, None], ["category"])
    assert many.limits[0] == tuple(range(80, 100)), "the most frequent ones"


def test_features_of_both_kinds_in_one_array() -> None:
    rows = np.array([[1.0, 5.0, 0.2], [2.0, 5.0, 0.4], [1.0, 6.0, 0.6]])
    bins = Bins.of(rows, ["number", "category", "number"])
    index = bins.index(rows)
    assert index.tolist() == [[1, 0, 1], [2, 0, 2], [1, 1, 3]]
    counts = bins.counts(index)
    assert counts.shape == (3, bins.width) and counts.sum(axis=1).tolist() == [3, 3, 3]
    assert bins.counts(index, np.array([2.0, 0.0, 5.0]))[0, 1] == 7
    assert bins.used.sum(axis=1).tolist() == [5, 4, 6]
    assert (bins.used[counts > 0] == 1).all()


def test_the_index_of_two_bins_by_hand() -> None:
    used, reference, live = np.ones((1, 2)), np.array([[500.0, 500.0]]), np.array([[800.0, 200.0]])
    expected = 0.3 * math.log(0.8 / 0.5) - 0.3 * math.log(0.2 / 0.5)
    assert psi(live, reference, used, 1e12)[0] == pytest.approx(expected)
    share = 0.5 * 2 / (9 + 0.5 * 2)  # of the uniform distribution, with nine episodes
    p, q = 0.9 * 0.8 + share / 2, 0.9 * 0.5 + share / 2
    by_hand = (p - q) * math.log(p / q) + ((1 - p) - (1 - q)) * math.log((1 - p) / (1 - q))
    assert psi(live, reference, used, 9.0)[0] == pytest.approx(by_hand)
    assert psi(reference * 3, reference, used, 9.0)[0] == pytest.approx(0.0, abs=1e-12)


def test_bins_that_a_feature_does_not_have_change_nothing() -> None:
    reference, live = np.array([[500.0, 500.0, 0.0]]), np.array([[800.0, 200.0, 0.0]])
    narrow = psi(live[:, :2], reference[:, :2], np.ones((1, 2)), 50.0)
    assert psi(live, reference, np.array([[1.0, 1.0, 0.0]]), 50.0) == pytest.approx(narrow)


def test_a_value_that_is_new_to_the_reference_counts_less_with_few_episodes() -> None:
    used, reference, live = np.ones((1, 2)), np.array([[1000.0, 0.0]]), np.array([[900.0, 100.0]])
    few, many = (psi(live, reference, used, episodes)[0] for episodes in (10.0, 1_000.0))
    assert 0.0 < few < many < np.inf


def test_whether_a_value_is_missing_has_an_index_of_its_own() -> None:
    used = np.ones((1, 3))
    reference, live = np.array([[500.0, 500.0, 0.0]]), np.array([[800.0, 100.0, 100.0]])
    both = indices(live, reference, used, 100.0)
    assert both.shape == (2,) and both[0] == psi(live, reference, used, 100.0)[0]
    assert both[1] == psi(np.array([[900.0, 100.0]]), np.array([[1000.0, 0.0]]), np.ones((1, 2)), 100.0)[0]
    assert indices(np.stack([live, live]), reference, used, 100.0).shape == (2, 2)


def test_the_customary_limits() -> None:
    assert [severity(value) for value in (0.0999, 0.1, 0.2499, 0.25)] == ["small", "moderate", "moderate", "large"]
