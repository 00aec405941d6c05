"""Sequential detectors: the streams that they read, their calibration, and what they notice."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("river")

from seqel.errors import MissingExtraError
from seqel.monitoring import detectors as module
from seqel.monitoring.calibration import calm_rows
from seqel.monitoring.detectors import (
    BLOCK,
    FARTHEST,
    StreamDetectors,
    Surprise,
    blocks_of,
    page_hinkley,
    standard,
    strictest,
)
from seqel.monitoring.reference import Reference
from support_monitoring import FAST, decisions


@pytest.fixture(scope="module")
def made() -> Reference:
    return decisions(100).reference()


@pytest.fixture(scope="module")
def monkey() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "DECISIONS", 60_000)
        yield patch


def test_surprise_is_the_mean_of_the_log_of_shares(made: Reference) -> None:
    found = Surprise(made).of(made.sample[:50])
    episodes, expected = made.effective_episodes, np.zeros(50)
    for feature in range(4):  # the observation alone
        bins = made.bins.used[feature].sum()
        share = (episodes * made.shares(feature) + 0.5) / (episodes + 0.5 * bins)
        expected -= np.log(share[made.sample[:50, feature]]) / 4
    np.testing.assert_allclose(found, expected)


def test_missing_and_new_values_are_surprising(made: Reference) -> None:
    rows = decisions(100).rows[:1].repeat(3, axis=0)
    rows[1, FAST], rows[2, 0] = np.nan, 77.0
    usual, missing, new = Surprise(made).of(made.bins.index(rows)).tolist()
    assert missing > usual + 0.5 and new > usual


def test_blocks_leave_out_what_is_not_finite() -> None:
    values = np.array([1.0, np.nan, 3.0, 5.0, np.nan, np.nan, 9.0])
    assert blocks_of(values, 2)[:2].tolist() == [1.0, 4.0]
    assert math.isnan(blocks_of(values, 2)[2]) and len(blocks_of(values, 2)) == 3


def test_a_block_counts_only_so_far() -> None:
    assert standard(5.0, 3.0, 2.0) == 1.0 and standard(1e9, 0.0, 1.0) == FARTHEST == -standard(-1e9, 0.0, 1.0)


def test_the_strictest_parameter_is_the_first_that_is_calm_enough() -> None:
    class Above:
        drift_detected = False

        def __init__(self, limit: float) -> None:
            self.limit = limit

        def update(self, value: float) -> None:
            self.drift_detected = value > self.limit

    streams = [[1.0, 4.0, 2.0], [5.0, 3.0]]
    assert strictest(Above, [1.0, 2.0, 3.0, 4.0, 5.0], streams, 1) == 4.0
    assert strictest(Above, [1.0, 2.0, 3.0, 4.0, 5.0], streams, 0) == 5.0
    assert strictest(Above, [1.0, 2.0], streams, 0) == math.inf


def test_page_hinkley_accumulates_what_exceeds_half_a_standard_deviation() -> None:
    test = page_hinkley(15.0)
    for _ in range(20):
        test.update(0.0)
    steps = 0
    while not test.drift_detected:
        test.update(4.0)
        steps += 1
    assert 4 <= steps <= 7, "each adds at most 3.5, less as the mean follows"
    slow = page_hinkley(15.0)
    for _ in range(2_000):
        slow.update(0.4)
        assert not slow.drift_detected


def test_a_jump_of_q_max_is_noticed_and_calm_streams_are_not(made: Reference, monkey: None) -> None:
    live = decisions(300, seed=3)
    rows = live.rows[calm_rows(live.lengths, 16, 12_000, np.random.default_rng(0))]
    index = made.bins.index(rows)
    calm, jump = StreamDetectors(made, 1e-4), StreamDetectors(made, 1e-4)
    changed = rows[:, -1].copy()
    changed[8_000:] += 3 * changed.std()
    alarms, noticed = [], []
    for start in range(0, len(rows), BLOCK):
        part = slice(start, start + BLOCK)
        alarms += calm.update(index[part], rows[part, -1], 2)
        noticed += [(start, one.stream) for one in jump.update(index[part], changed[part], 2)]
    assert len(alarms) <= 2
    late = [start for start, stream in noticed if start >= 8_000 and stream == "q_max"]
    assert late and late[0] < 8_500


def test_streams_that_say_nothing_are_left_out(monkey: None) -> None:
    given = decisions(20)
    given.rows[:, -1] = np.nan
    given.rows[:, :4] = 1.0
    found = StreamDetectors(given.reference(), 1e-4)
    assert found.update(np.zeros((64, 6), np.uint8), np.full(64, np.nan), 0) == []


def test_without_river_the_extra_is_named(made: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "river", None)
    with pytest.raises(MissingExtraError, match=r'drift needs river, .*"seqel\[monitor\]"'):
        StreamDetectors(made, 1e-4)
