"""The sum tree against NumPy's sums; an index of weight 0 is never drawn."""

from __future__ import annotations

import numpy as np
import pytest

from seqel.replay.sumtree import FAN, SumTree


@pytest.mark.parametrize("size", [1, FAN, FAN + 1, 5_000, FAN**2 + 3])
def test_finds_what_a_running_sum_finds(size: int) -> None:
    rng = np.random.default_rng(size)
    tree, weights = SumTree(size), np.zeros(size)
    for _ in range(20):
        index = rng.integers(0, size, rng.integers(1, 200))
        index = np.unique(index)
        weights[index] = rng.exponential(size=len(index)) * (rng.random(len(index)) < 0.7)
        tree.set(index, weights[index])
        assert tree.total == pytest.approx(weights.sum())
        np.testing.assert_array_equal(tree.get(np.arange(size)), weights)
        if weights.sum() == 0.0:
            continue
        mass = rng.random(500) * weights.sum() * (1 - 1e-9)
        found = tree.find(mass)
        np.testing.assert_array_equal(found, np.searchsorted(np.cumsum(weights), mass, side="right"))


def test_the_largest_mass_finds_the_last_index_with_weight() -> None:
    tree = SumTree(10_000)
    tree.set(np.array([3, 4_000, 7_777]), np.array([0.1, 0.2, 0.3]))
    found = tree.find(np.array([0.0, tree.total, np.nextafter(tree.total, 9.0), 0.1 - 1e-12]))
    assert found.tolist() == [3, 7_777, 7_777, 3]


def test_a_million_changes_leave_no_drift() -> None:
    rng = np.random.default_rng(0)
    tree, weights = SumTree(2_000), np.zeros(2_000)
    for _ in range(1_000):
        index = rng.integers(0, 2_000, 1_000)
        value = rng.random(2_000)[index] * 10.0 ** rng.integers(-6, 6)
        weights[index] = value
        tree.set(index, value)
    assert tree.total == pytest.approx(weights.sum(), rel=1e-12)
