from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seqel.errors import DataError
from seqel.ope.estimators import METHODS, Estimate, Logged, bellman_error, correctable_steps, effective_sizes, estimate


def logged(reward: Any, ratio: Any, q: Any = None, v: Any = None, discount: float = 0.5, valid: Any = None) -> Logged:
    reward, ratio = np.array(reward, float), np.array(ratio, float)
    zeros = np.zeros_like(reward)
    return Logged(
        reward,
        np.ones(reward.shape, bool) if valid is None else np.array(valid, bool),
        ratio,
        zeros if q is None else np.array(q, float),
        zeros if v is None else np.array(v, float),
        discount,
    )


TWO = {"reward": [[1.0, 2.0], [3.0, 4.0]], "ratio": [[2.0, 0.5], [1.0, 3.0]]}


def test_per_decision_by_hand() -> None:
    # w: 2, 1 and 1, 3; (2*1 + 1*3)/2 + 0.5 * (1*2 + 3*4)/2
    assert estimate(logged(**TWO), "per-decision").value == pytest.approx(2.5 + 0.5 * 7.0)


def test_weighted_by_hand() -> None:
    assert estimate(logged(**TWO), "weighted").value == pytest.approx(5 / 3 + 0.5 * 14 / 4)


def test_doubly_robust_by_hand() -> None:
    one = logged(**TWO, q=[[1.5, 1.0], [2.0, 5.0]], v=[[1.0, 2.0], [3.0, 4.0]])
    first = (2 * (1 - 1.5) + 1.0 + 1 * (3 - 2.0) + 3.0) / 2
    second = (1 * (2 - 1.0) + 2 * 2.0 + 3 * (4 - 5.0) + 1 * 4.0) / 2
    assert estimate(one, "doubly-robust").value == pytest.approx(first + 0.5 * second)
    # one corrected step: the second step is w_0 v_1
    short = first + 0.5 * (2 * 2.0 + 1 * 4.0) / 2
    assert estimate(one, "doubly-robust", steps=1).value == pytest.approx(short)
    assert estimate(one, "doubly-robust", steps=0).value == pytest.approx(2.0) == estimate(one, "fitted").value
    weighted = (2 * -0.5 + 1 * 1.0) / 3 + 2.0 + 0.5 * ((1 * 1.0 + 3 * -1.0) / 4 + (2 * 2.0 + 1 * 4.0) / 3)
    assert estimate(one, "weighted-doubly-robust").value == pytest.approx(weighted)


def test_a_truncated_session_goes_on_by_its_final_value() -> None:
    # one step, then the value of the final observation: 1 * (2 - 3) + 5 + 0.5 * 8
    one = logged([[2.0, 0.0]], [[1.0, 0.0]], [[3.0, 0.0]], [[5.0, 8.0]], valid=[[True, False]])
    assert estimate(one, "doubly-robust").value == pytest.approx(8.0)


def test_on_the_recorded_policy_every_method_is_near_the_mean_return() -> None:
    rng = np.random.default_rng(0)
    reward = rng.normal(1.0, 1.0, (500, 4))
    one = logged(reward, np.ones((500, 4)), discount=1.0)
    mean = reward.sum(axis=1).mean()
    for method in METHODS:
        if method != "fitted":
            found = estimate(one, method)
            assert found.value == pytest.approx(mean)
            assert found.low < mean < found.high
            assert found.high - found.low == pytest.approx(4 * 2.0 / np.sqrt(500), rel=0.15), "4 standard errors"
    assert estimate(one, "weighted", minus=reward.sum(axis=1)).interval == pytest.approx((0.0, 0.0), abs=1e-9)


def test_importance_sampling_finds_the_value_of_another_policy_and_the_interval_holds_it() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(40):
        action = rng.random((400, 3)) < 0.5  # recorded: even; evaluated: 0.8 for the action that pays
        reward = action * rng.normal(1.0, 0.5, (400, 3))
        ratio = np.where(action, 0.8, 0.2) / 0.5
        found = estimate(logged(reward, ratio, discount=1.0), "weighted")
        inside += found.low <= 2.4 <= found.high
    assert inside >= 35


def test_a_wrong_model_is_corrected_and_a_right_one_narrows_the_interval() -> None:
    rng = np.random.default_rng(2)
    action = rng.random((2_000, 1)) < 0.5
    reward = np.where(action, 3.0, 1.0) + rng.normal(0, 0.1, (2_000, 1))
    ratio = np.where(action, 0.9, 0.1) / 0.5  # value 2.8
    wrong = estimate(logged(reward, ratio, np.full((2_000, 1), 7.0), np.full((2_000, 1), 7.0)), "doubly-robust")
    right = estimate(logged(reward, ratio, np.where(action, 3.0, 1.0), np.full((2_000, 1), 2.8)), "doubly-robust")
    assert wrong.value == pytest.approx(2.8, abs=0.4)
    assert right.value == pytest.approx(2.8, abs=0.02)
    assert right.high - right.low < 0.1 * (wrong.high - wrong.low)


def test_how_values_contradict_the_record_by_hand() -> None:
    one = logged(**TWO, q=[[1.5, 1.0], [2.0, 5.0]], v=[[1.0, 2.0], [3.0, 4.0]])
    # errors: 1 + 0.5 * 2 - 1.5, 3 + 0.5 * 4 - 2; 2 - 1, 4 - 5; ratios 2, 1; 0.5, 3
    first, second = (2 * 0.5 + 1 * 3.0) / 3, (0.5 * 1.0 + 3 * -1.0) / 3.5
    noise_0 = (2 * (0.5 - first)) ** 2 + (3.0 - first) ** 2
    noise_1 = (0.5 * (1.0 - second)) ** 2 + (3 * (-1.0 - second)) ** 2
    variance = noise_0 / 9 + 0.25 * noise_1 / 3.5**2
    assert bellman_error(one) == pytest.approx(np.sqrt((first + 0.5 * second) ** 2 + variance))
    # the second session ends at once: half as many get to the second step; what is padded counts nothing
    short = logged(**TWO, q=[[1.5, 1.0], [2.0, 9.0]], v=[[1.0, 2.0], [3.0, 0.0]], valid=[[True, True], [True, False]])
    first = (2 * 0.5 + 1 * 1.0) / 3
    variance = ((2 * (0.5 - first)) ** 2 + (1.0 - first) ** 2) / 9
    assert bellman_error(short) == pytest.approx(np.sqrt((first + 0.5 * 0.5 * 1.0) ** 2 + variance))


def test_an_interval_is_widened_by_the_error_of_the_fit() -> None:
    wide = Estimate(1.0, 0.7, 1.4, "fitted").widened(0.1, 2)  # Student's t with two degrees of freedom: 4.3027
    assert (wide.value, wide.fit) == (1.0, 0.1)
    assert wide.low == pytest.approx(1.0 - np.hypot(0.3, 0.43027), abs=1e-4)
    assert wide.high == pytest.approx(1.0 + np.hypot(0.4, 0.43027), abs=1e-4)


def test_how_far_the_sessions_reach() -> None:
    ratio = np.ones((10, 3))
    ratio[1:, 1] = 0.0  # from the second step on one session alone agrees
    weights = logged(np.zeros((10, 3)), ratio).weights()
    assert effective_sizes(weights).tolist() == pytest.approx([10.0, 1.0, 1.0])
    assert correctable_steps(weights, 5.0) == 1
    assert correctable_steps(weights, 1.0) == 3
    assert correctable_steps(weights, 11.0) == 0


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(DataError, match="one shape"):
        logged([[1.0]], [[1.0, 2.0]])
    with pytest.raises(DataError, match="finite reward"):
        logged([[np.nan]], [[1.0]])
    with pytest.raises(DataError, match="negative"):
        logged([[1.0]], [[-1.0]])
    with pytest.raises(DataError, match="expected one of"):
        estimate(logged([[1.0]], [[1.0]]), "magic")
