"""Calibration: returns to go, truncation, and every figure worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seqel.errors import ConfigError
from seqel.evaluation.recording import PlayedEpisodes
from seqel.reports.calibration import calibrate, calibration_points, known_returns, returns_to_go


def episodes(q: list[float], reward: list[float], lengths: list[int], terminated: list[bool]) -> PlayedEpisodes:
    return PlayedEpisodes(
        np.array(q, np.float32), np.array(reward, np.float64), np.zeros((len(q), 1), np.int64), np.array(lengths),
        np.array(terminated), np.full(len(lengths), np.nan), 0,
    )  # fmt: skip


def test_returns_to_go_are_discounted_and_stay_within_their_episode() -> None:
    """Rewards 1, 2 | 3 with discount 1/2: 1 + 2/2 = 2, 2, and 3."""
    found = returns_to_go(np.array([1.0, 2.0, 3.0]), np.array([2, 1]), 0.5)
    assert found.tolist() == [2.0, 2.0, 3.0]


def test_a_step_near_a_truncation_does_not_count() -> None:
    """With discount 1/2, the weight beyond the end is 1/8, 1/4 and 1/2 at the three steps of the truncated episode."""
    lengths, ends = np.array([3, 2]), np.array([False, True])
    assert known_returns(lengths, ends, 0.5, unseen=0.25).tolist() == [True, True, False, True, True]
    assert known_returns(lengths, ends, 1.0).tolist() == [False] * 3 + [True] * 2, "without discount, none of it"
    assert known_returns(lengths, ends, 0.0).tolist() == [True] * 5


def test_figures_worked_by_hand() -> None:
    """Predicted 1, 2, 5 against 2, 2, 3: bias (8 - 7) / 3, slope (21/9) / (78/9), errors 1, 0, 2."""
    found = calibrate(episodes([1, 2, 5], [1, 2, 3], [2, 1], [True, True]), 0.5, bins=3)
    assert found is not None
    assert found.bias == pytest.approx(1 / 3)
    assert found.slope == pytest.approx(21 / 78)
    assert found.intercept == pytest.approx(7 / 3 - 21 / 78 * 8 / 3)
    # episode 1 twice: errors 1 and 0; episode 2 twice: error 2; both: 1
    assert list(found.error_interval) == pytest.approx([0.5, 2.0])
    assert found.rmse == pytest.approx(math.sqrt(5 / 3))
    assert found.error == pytest.approx(1.0)
    assert [(one.predicted, one.realised, one.steps) for one in found.bins] == [(1, 2, 1), (2, 2, 1), (5, 3, 1)]
    assert found.correlation == pytest.approx(np.corrcoef([1, 2, 5], [2, 2, 3])[0, 1])
    assert found.steps == 3 and found.episodes == 2 and found.left_out == 0


def test_values_that_are_exact_are_calibrated_and_a_constant_offset_is_the_bias() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 9, 40)
    reward = rng.normal(size=int(lengths.sum()))
    exact = returns_to_go(reward, lengths, 0.9)
    found = calibrate(episodes(exact.tolist(), reward.tolist(), lengths.tolist(), [True] * 40), 0.9)
    assert (
        found is not None
        and abs(found.bias) < 1e-6
        and found.error < 1e-6
        and found.slope == pytest.approx(1.0, abs=1e-5)
    )
    raised = calibrate(episodes((exact + 2.0).tolist(), reward.tolist(), lengths.tolist(), [True] * 40), 0.9)
    assert (
        raised is not None
        and raised.bias == pytest.approx(2.0, abs=1e-5)
        and raised.slope == pytest.approx(1.0, abs=1e-5)
    )
    low, high = raised.bias_interval
    assert low == pytest.approx(2.0, abs=1e-5) and high == pytest.approx(2.0, abs=1e-5)
    assert raised.intercept == pytest.approx(-2.0, abs=1e-4)
    assert list(raised.error_interval) == pytest.approx([2.0, 2.0], abs=1e-5)
    doubled = calibrate(episodes((2 * exact).tolist(), reward.tolist(), lengths.tolist(), [True] * 40), 0.9)
    assert doubled is not None and doubled.slope == pytest.approx(0.5, abs=1e-5)


def test_the_interval_resamples_episodes_and_not_steps() -> None:
    """Every step of an episode has its error: 20 episodes are 20 observations, however long they are."""
    rng = np.random.default_rng(1)
    offsets = rng.normal(size=20)

    def width(length: int) -> float:
        reward = np.zeros(20 * length)
        found = calibrate(
            episodes(np.repeat(offsets, length).tolist(), reward.tolist(), [length] * 20, [True] * 20), 0.9
        )
        assert found is not None
        return found.bias_interval[1] - found.bias_interval[0]

    assert width(50) == pytest.approx(width(1), rel=0.02)


def test_intervals_of_the_line_and_of_the_error_equal_those_of_resampled_episodes() -> None:
    """The same figures computed again on each resample of episodes, in a plain loop."""
    rng = np.random.default_rng(2)
    lengths = rng.integers(1, 7, 15)
    reward = rng.normal(size=int(lengths.sum()))
    predicted = 0.7 * returns_to_go(reward, lengths, 0.9) + 0.5 + 0.3 * rng.normal(size=len(reward))
    found = calibrate(episodes(predicted.tolist(), reward.tolist(), lengths.tolist(), [True] * 15), 0.9, resamples=200)
    assert found is not None
    predicted = predicted.astype(np.float32).astype(np.float64)
    realised = returns_to_go(reward, lengths, 0.9)
    steps = np.split(np.arange(len(reward)), np.cumsum(lengths)[:-1])
    cuts = np.quantile(predicted, np.arange(1, 10) / 10)
    lines, errors = [], []
    for counts in np.random.default_rng(0).multinomial(15, np.full(15, 1 / 15), size=200):
        rows = np.concatenate([np.tile(part, count) for part, count in zip(steps, counts, strict=True)])
        x, y = predicted[rows], realised[rows]
        lines.append(np.polyfit(x, y, 1))
        which = np.searchsorted(cuts, x, side="right")
        errors.append(sum(abs((x - y)[which == place].sum()) for place in range(10)) / len(x))
    slopes, intercepts = np.array(lines).T
    for interval, values in (
        (found.slope_interval, slopes), (found.intercept_interval, intercepts), (found.error_interval, np.array(errors)),
    ):  # fmt: skip
        assert interval == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=1e-9)


def test_episodes_that_are_all_truncated_too_early_have_no_calibration() -> None:
    assert calibrate(episodes([1, 2], [1, 1], [2], [False]), 1.0) is None


def test_equal_predictions_have_no_slope_and_one_bin() -> None:
    found = calibrate(episodes([1, 1, 1], [0, 1, 2], [1, 1, 1], [True] * 3), 0.9)
    assert (
        found is not None and math.isnan(found.slope) and math.isnan(found.intercept) and math.isnan(found.correlation)
    )
    assert [one.steps for one in found.bins] == [3]


def test_one_episode_has_no_interval() -> None:
    found = calibrate(episodes([1, 2], [1, 1], [2], [True]), 1.0)
    assert (
        found is not None
        and math.isnan(found.bias_interval[0])
        and math.isnan(found.error_interval[1])
        and math.isnan(found.bins[0].low)
    )


def test_points_are_drawn_from_the_steps_that_count() -> None:
    played = episodes([1, 2, 3, 4], [1, 1, 1, 1], [2, 2], [True, False])
    assert calibration_points(played, 1.0) == [[1.0, 2.0], [2.0, 1.0]]
    assert len(calibration_points(played, 0.0, most=3)) == 3


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="discount"):
        calibrate(episodes([1], [1], [1], [True]), 1.5)
