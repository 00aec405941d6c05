from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from seqel.errors import DataError
from seqel.ope import estimators
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


TWO: dict[str, Any] = {"reward": [[1.0, 2.0], [3.0, 4.0]], "ratio": [[2.0, 0.5], [1.0, 3.0]]}


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


def test_corrected_for_two_steps_of_three_by_hand() -> None:
    one = logged(
        [[1.0, 2.0, 90.0], [3.0, 4.0, 90.0]], [[2.0, 0.5, 7.0], [1.0, 3.0, 7.0]],
        q=[[1.5, 1.0, 90.0], [2.0, 5.0, 90.0]], v=[[1.0, 2.0, 10.0], [3.0, 4.0, 20.0]],
    )  # fmt: skip
    # as above for two steps; the third is w_1 v_2 with w_1 = 1 and 3
    first = (2 * (1 - 1.5) + 1.0 + 1 * (3 - 2.0) + 3.0) / 2
    second = (1 * (2 - 1.0) + 2 * 2.0 + 3 * (4 - 5.0) + 1 * 4.0) / 2
    third = (1 * 10.0 + 3 * 20.0) / 2
    assert estimate(one, "doubly-robust", steps=2).value == pytest.approx(first + 0.5 * second + 0.25 * third)
    weighted = (
        (2 * -0.5 + 1 * 1.0) / 3 + 2.0 + 0.5 * ((1 * 1.0 + 3 * -1.0) / 4 + (2 * 2.0 + 1 * 4.0) / 3) + 0.25 * 70 / 4
    )
    assert estimate(one, "weighted-doubly-robust", steps=2).value == pytest.approx(weighted)


def test_weighted_means_do_not_depend_on_the_size_of_the_weights() -> None:
    """Ratios that are all a hundred times smaller: their sums are far below 1."""
    large = logged(**TWO, q=[[1.5, 1.0], [2.0, 5.0]], v=[[1.0, 2.0], [3.0, 4.0]])
    small = replace(large, ratio=large.ratio / np.array([100.0, 1.0]))
    assert estimate(small, "weighted").value == pytest.approx(estimate(large, "weighted").value)
    assert effective_sizes(small.weights()).tolist() == pytest.approx(effective_sizes(large.weights()).tolist())
    assert bellman_error(replace(large, ratio=large.ratio / 100)) == pytest.approx(bellman_error(large))


def test_a_truncated_session_continues_with_its_final_value() -> None:
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


def test_importance_sampling_finds_the_value_of_another_policy_and_the_interval_contains_it() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(40):
        action = rng.random((400, 3)) < 0.5  # recorded: uniform; evaluated: 0.8 for the rewarded action
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


def test_bellman_error_by_hand() -> None:
    one = logged(**TWO, q=[[1.5, 1.0], [2.0, 5.0]], v=[[1.0, 2.0], [3.0, 4.0]])
    # errors: 1 + 0.5 * 2 - 1.5, 3 + 0.5 * 4 - 2; 2 - 1, 4 - 5; ratios 2, 1; 0.5, 3
    first, second = (2 * 0.5 + 1 * 3.0) / 3, (0.5 * 1.0 + 3 * -1.0) / 3.5
    noise_0 = (2 * (0.5 - first)) ** 2 + (3.0 - first) ** 2
    noise_1 = (0.5 * (1.0 - second)) ** 2 + (3 * (-1.0 - second)) ** 2
    variance = noise_0 / 9 + 0.25 * noise_1 / 3.5**2
    assert bellman_error(one) == pytest.approx(np.sqrt((first + 0.5 * second) ** 2 + variance))
    # the second session ends at once: half as many reach the second step; padding does not count
    short = logged(**TWO, q=[[1.5, 1.0], [2.0, 9.0]], v=[[1.0, 2.0], [3.0, 0.0]], valid=[[True, True], [True, False]])
    first = (2 * 0.5 + 1 * 1.0) / 3
    variance = ((2 * (0.5 - first)) ** 2 + (1.0 - first) ** 2) / 9
    assert bellman_error(short) == pytest.approx(np.sqrt((first + 0.5 * 0.5 * 1.0) ** 2 + variance))


def test_an_interval_is_widened_by_the_error_of_the_fit() -> None:
    wide = Estimate(1.0, 0.7, 1.4, "fitted").widened(0.1, 2)  # Student's t with two degrees of freedom: 4.3027
    assert (wide.value, wide.fit) == (1.0, 0.1)
    assert wide.low == pytest.approx(1.0 - np.hypot(0.3, 0.43027), abs=1e-4)
    assert wide.high == pytest.approx(1.0 + np.hypot(0.4, 0.43027), abs=1e-4)


def test_correctable_steps_by_hand() -> None:
    ratio = np.ones((10, 3))
    ratio[1:, 1] = 0.0  # from the second step on, only one session agrees
    weights = logged(np.zeros((10, 3)), ratio).weights()
    assert effective_sizes(weights).tolist() == pytest.approx([10.0, 1.0, 1.0])
    assert correctable_steps(weights, 5.0) == 1
    assert correctable_steps(weights, 1.0) == 3
    assert correctable_steps(weights, 11.0) == 0


def test_a_session_that_has_ended_keeps_its_weight_and_products_are_bounded() -> None:
    one = logged(np.zeros((2, 3)), [[2.0, 0.0, 0.0], [0.5, 3.0, 0.25]], valid=[[True, False, False], [True] * 3])
    with np.errstate(all="raise"):
        np.testing.assert_allclose(one.weights(), [[2.0, 2.0, 2.0], [0.5, 1.5, 0.375]])
        gone = logged(np.zeros((1, 2)), [[0.0, 5.0]]).weights()
    assert gone.tolist() == [[0.0, 0.0]], "what the policy never does keeps weight 0"
    huge = logged(np.zeros((1, 3)), np.full((1, 3), 1e4)).weights()
    assert huge[0].tolist() == pytest.approx([1e4, 1e6, 1e6], rel=1e-9)


def test_effective_sizes_by_hand() -> None:
    # (1 + 3)^2 / (1 + 9) and (2 + 2)^2 / (4 + 4); without any weight, the size is 0
    sizes = effective_sizes(np.array([[1.0, 2.0, 0.0], [3.0, 2.0, 0.0]]))
    assert sizes.tolist() == pytest.approx([1.6, 2.0, 0.0])


def test_steps_that_no_session_agrees_with_add_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    divide = np.divide

    def filled(one: Any, two: Any, out: Any = None, where: Any = True) -> Any:
        """Fill what a division leaves out with values that are certainly wrong, instead of whatever was in memory."""
        return divide(one, two, out=np.full(np.shape(one), np.nan) if out is None else out, where=where)

    monkeypatch.setattr(np, "divide", filled)
    assert effective_sizes(np.array([[1.0, 0.0], [1.0, 0.0]])).tolist() == [2.0, 0.0]
    # from the second step on every weight is 0: only the terms before remain
    one = logged(
        [[1.0, 7.0], [3.0, 7.0]], [[2.0, 0.0], [1.0, 0.0]], q=[[1.0, 1.0], [1.0, 1.0]], v=[[4.0, 6.0], [4.0, 6.0]]
    )
    assert estimate(one, "weighted").value == pytest.approx(5 / 3)
    assert estimate(one, "per-decision").value == pytest.approx(2.5)
    # (2 * 0 + 1 * 2) / 3 + 4 + 0.5 * (0 + 6)
    assert estimate(one, "weighted-doubly-robust").value == pytest.approx(2 / 3 + 4 + 3)
    errors = [1 + 0.5 * 6 - 1, 3 + 0.5 * 6 - 1]  # ratios 2 and 1
    mean = (2 * errors[0] + errors[1]) / 3
    variance = ((2 * (errors[0] - mean)) ** 2 + (errors[1] - mean) ** 2) / 9
    assert bellman_error(one) == pytest.approx(np.hypot(mean, np.sqrt(variance)))


def test_the_bellman_error_counts_from_the_first_step_that_is_not_corrected() -> None:
    one = logged(**TWO, q=[[1.5, 1.0], [2.0, 5.0]], v=[[1.0, 2.0], [3.0, 4.0]])
    second = (0.5 * 1.0 + 3 * -1.0) / 3.5
    noise = (0.5 * (1.0 - second)) ** 2 + (3 * (-1.0 - second)) ** 2
    assert bellman_error(one, after=1) == pytest.approx(0.5 * np.sqrt(second**2 + noise / 3.5**2))
    assert bellman_error(one, after=2) == 0.0


def test_the_interval_is_that_of_bootstrapped_sessions() -> None:
    # two sessions that earn 0 and 1: their mean in a resample is 0, 1/2 or 1 with chances 1/4, 1/2, 1/4
    coin = logged([[0.0], [1.0]], [[1.0], [1.0]])
    found = estimate(coin, "weighted")
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)
    for resamples in (1, 1_000):
        one = estimate(logged([[5.0]], [[3.0]]), "weighted", resamples=resamples)
        assert one.value == one.low == one.high == 5.0
    # five sessions: 5 % of (0.2 k) lies outside 0 ... 1 nowhere; quantiles of a binomial with 5 draws at 0.2
    few = estimate(logged([[1.0], [0.0], [0.0], [0.0], [0.0]], np.ones((5, 1))), "weighted")
    assert [few.value, few.low, few.high] == pytest.approx([0.2, 0.0, 0.6])


def test_the_same_seed_gives_the_same_interval() -> None:
    one = logged(np.random.default_rng(3).normal(size=(50, 2)), np.ones((50, 2)))
    assert estimate(one, "weighted") == estimate(one, "weighted", seed=0)
    assert estimate(one, "weighted", seed=7) == estimate(one, "weighted", seed=7) != estimate(one, "weighted")


def test_without_resamples_only_the_value_is_computed() -> None:
    one = logged(**TWO)
    found = estimate(one, "doubly-robust", steps=1, resamples=0)
    value = estimate(one, "doubly-robust", steps=1).value
    assert found == Estimate(value, value, value, "doubly-robust", 1)
    assert (found.corrected, found.fit, found.interval) == (1, 0.0, (value, value))
    assert Estimate(1.0, 0.0, 2.0, "fitted") == Estimate(1.0, 0.0, 2.0, "fitted", corrected=0, fit=0.0)


@pytest.mark.parametrize(
    ("method", "steps", "corrected"),
    [("fitted", None, 0), ("fitted", 1, 0), ("per-decision", 1, 2), ("weighted", None, 2), ("doubly-robust", None, 2),
     ("doubly-robust", 1, 1), ("weighted-doubly-robust", 9, 2), ("weighted-doubly-robust", 0, 0)],
)  # fmt: skip
def test_the_estimate_says_how_many_steps_are_corrected(method: str, steps: int | None, corrected: int) -> None:
    found = estimate(logged(**TWO), method, steps, resamples=2)
    assert (found.method, found.corrected) == (method, corrected)


@pytest.mark.parametrize("draws", [1, 40, 70])
def test_many_sessions_are_resampled_in_blocks(draws: int, monkeypatch: pytest.MonkeyPatch) -> None:
    one = logged(np.random.default_rng(4).normal(size=(20, 2)), np.ones((20, 2)))
    whole = estimate(one, "weighted", resamples=101)
    monkeypatch.setattr(estimators, "DRAWS", draws)  # 101 resamples of 20 sessions: 101, 51 or 34 blocks
    assert estimate(one, "weighted", resamples=101) == whole


def test_the_difference_from_the_recorded_policy_by_hand() -> None:
    # per decision 2.5 + 3.5; the sessions earned 1 + 0.5 * 2 and 3 + 0.5 * 4
    found = estimate(logged(**TWO), "per-decision", minus=np.array([2.0, 5.0]))
    assert found.value == pytest.approx(6.0 - 3.5)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (3,), (1, 2, 2)])
def test_there_must_be_sessions_with_steps(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="five arrays"):
        logged(np.zeros(shape), np.zeros(shape))


def test_inconsistent_arguments_are_refused() -> None:
    with pytest.raises(DataError, match="the same shape"):
        logged([[1.0]], [[1.0, 2.0]])
    with pytest.raises(DataError, match="finite reward"):
        logged([[np.nan]], [[1.0]])
    with pytest.raises(DataError, match="negative"):
        logged([[1.0]], [[-1.0]])
    with pytest.raises(DataError, match="expected one of"):
        estimate(logged([[1.0]], [[1.0]]), "magic")
