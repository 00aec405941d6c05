"""Exploration: observed frequencies against the stated distributions, masks, counts, and saved state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seqel.agents.config import ExplorationConfig
from seqel.agents.exploration import Explorer, ladder
from seqel.agents.sketch import CODES
from seqel.errors import ConfigError

ROWS = 4_000


def explorer(rows: int = ROWS, actions: int = 3, **settings: object) -> Explorer:
    config = ExplorationConfig(**{"bonus": 0.0, **settings})  # type: ignore[arg-type]
    return Explorer(config, rows, actions, 0)


def at(code: int, rows: int = ROWS) -> np.ndarray:
    return np.full(rows, code)


def test_the_ladder_is_geometric() -> None:
    np.testing.assert_allclose(ladder(1e-4, 1e-2, 3), [1e-4, 1e-3, 1e-2])
    np.testing.assert_allclose(ladder(1e-4, 1e-2, 1), [1e-3])


def test_boltzmann_frequencies_are_those_of_the_softmax_in_units_of_the_scale() -> None:
    q = np.tile(np.array([10.0, 12.0, 11.0], np.float32), (ROWS, 1))
    action = explorer(rule="boltzmann", low=0.5, high=0.5).select(q, at(0), None, scale=2.0)
    logits = np.array([10.0, 12.0, 11.0]) / 2.0 / 0.5
    wanted = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    np.testing.assert_allclose(np.bincount(action, minlength=3) / ROWS, wanted, atol=0.03)


def test_epsilon_is_the_share_of_random_actions() -> None:
    q = np.tile(np.array([0.0, 1.0, 0.5], np.float32), (ROWS, 1))
    action = explorer(rule="epsilon", low=0.3, high=0.3).select(q, at(0), None, scale=1.0)
    np.testing.assert_allclose(np.bincount(action, minlength=3) / ROWS, [0.1, 0.8, 0.1], atol=0.03)


def test_annealing_moves_from_the_start_to_the_rung() -> None:
    q = np.tile(np.array([0.0, 1.0], np.float32), (ROWS, 1))
    one = explorer(actions=2, rule="epsilon", low=0.01, high=0.01, initial=1.0, anneal=0.5)
    shares = [np.mean(one.select(q, at(0), None, 1.0, fraction) == 0) for fraction in (0.0, 0.25, 0.5, 1.0)]
    np.testing.assert_allclose(shares, [0.5, 0.05, 0.005, 0.005], atol=0.03)
    assert shares[0] > shares[1] > shares[2]


@pytest.mark.parametrize("rule", ["boltzmann", "epsilon", "greedy"])
@pytest.mark.parametrize("bonus", [0.0, 1.0])
def test_masks_are_never_violated(rule: str, bonus: float) -> None:
    rng = np.random.default_rng(0)
    mask = rng.random((ROWS, 3)) < 0.5
    mask[np.arange(ROWS), rng.integers(0, 3, ROWS)] = True
    q = rng.standard_normal((ROWS, 3)).astype(np.float32)
    action = explorer(rule=rule, bonus=bonus, low=0.5, high=0.9).select(q, at(1), mask, 1.0)
    assert mask[np.arange(ROWS), action].all()


def test_the_bonus_favours_rarely_tried_actions_at_the_same_observation_only() -> None:
    one = explorer(rows=1, rule="greedy", bonus=1.0)
    q = np.array([[0.3, 0.0, 0.0]], np.float32)
    here = [int(one.select(q, at(5, 1), None, 1.0)[0]) for _ in range(12)]
    assert set(here) == {0, 1, 2}, "all are tried although one looks better"
    later = [int(one.select(q, at(5, 1), None, 1.0)[0]) for _ in range(300)]
    assert np.mean(np.array(later) == 0) > 0.7, "and the bonus fades"
    again = [int(one.select(q, at(6, 1), None, 1.0)[0]) for _ in range(12)]
    assert set(again) == {0, 1, 2}, "another observation has its own counts"


@pytest.mark.parametrize("rule", ["boltzmann", "epsilon"])
def test_persistent_choices_have_the_stated_durations_and_frequencies(rule: str) -> None:
    """Durations follow n^-2 (a zeta distribution); the shares of the actions are the same as without it."""
    q = np.tile(np.array([0.0, 1.0, 0.5], np.float32), (ROWS, 1))
    settings: dict[str, Any] = {"rule": rule, "low": 0.5, "high": 0.5}
    one, held = explorer(**settings), explorer(duration_exponent=2.0, **settings)
    plain = np.stack([one.select(q, at(0), None, 1.0) for _ in range(60)])
    kept, begins = [], []
    for _ in range(60):
        kept.append(held.select(q, at(0), None, 1.0))
        begins.append(held.over.copy())
    actions, begun = np.stack(kept), np.stack(begins)
    share = lambda chosen: np.bincount(chosen.reshape(-1), minlength=3) / chosen.size  # noqa: E731
    np.testing.assert_allclose(share(actions[-1]), share(plain), atol=0.03)
    assert (actions[1:] == actions[:-1])[~begun[1:]].all(), (
        "while the noise is held, the same values give the same action"
    )
    assert np.mean(actions[1:] == actions[:-1]) > np.mean(plain[1:] == plain[:-1]) + 0.2
    assert np.mean(begun[1]) == pytest.approx(6 / np.pi**2, abs=0.03), "the probability of a duration of one step"


def test_clearly_different_values_decide_despite_held_noise() -> None:
    held = explorer(duration_exponent=2.0, low=0.1, high=0.1)
    flat, steep = np.zeros((ROWS, 3), np.float32), np.tile(np.array([0.0, 50.0, 0.0], np.float32), (ROWS, 1))
    held.select(flat, at(0), None, 1.0)
    assert (held.select(steep, at(0), None, 1.0) == 1).all()
    mask = np.tile(np.array([True, False, True]), (ROWS, 1))
    assert (held.select(steep, at(0), mask, 1.0) != 1).all(), "and masks do"


@pytest.mark.parametrize("duration_exponent", [0.0, 2.0])
def test_a_restored_explorer_chooses_the_same(duration_exponent: float) -> None:
    one, other = (
        explorer(bonus=0.5, duration_exponent=duration_exponent),
        explorer(bonus=0.5, duration_exponent=duration_exponent),
    )
    q = np.random.default_rng(0).standard_normal((ROWS, 3)).astype(np.float32)
    one.select(q, at(3), None, 1.0)
    other.load_state_dict(one.state_dict())
    for _ in range(3):
        np.testing.assert_array_equal(one.select(q, at(3), None, 1.0), other.select(q, at(3), None, 1.0))


@pytest.mark.parametrize(
    "settings",
    [
        {"low": 0.0},
        {"low": 0.2, "high": 0.1},
        {"rule": "epsilon", "high": 2.0},
        {"anneal": 0.5},
        {"bonus": -1.0},
        {"duration_exponent": 0.5},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="exploration"):
        ExplorationConfig(**settings)  # type: ignore[arg-type]


def test_an_unknown_rule_and_values_that_are_not_numbers_are_refused() -> None:
    for settings in ({"rule": "softmax"}, {"bonus": float("nan")}, {"high": float("inf")}, {"low": float("nan")}):
        with pytest.raises(ConfigError, match="exploration"):
            ExplorationConfig(**settings)


def test_a_ladder_explores_more_in_each_warmer_row() -> None:
    rungs, draws = 4, 3_000
    one = explorer(rows=rungs, rule="boltzmann", low=0.01, high=10.0)
    q = np.tile(np.array([0.0, 0.1, 0.2], np.float32), (rungs, 1))
    best = np.mean([one.select(q, at(0, rungs), None, 1.0) == 2 for _ in range(draws)], axis=0)
    logits = np.array([0.0, 0.1, 0.2])[None] / np.geomspace(0.01, 10.0, rungs)[:, None]
    wanted = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True))[:, 2]
    np.testing.assert_allclose(best, wanted, atol=0.04)
    assert (np.diff(best) < 0).all()


def test_ties_are_broken_at_random() -> None:
    action = explorer(rule="greedy").select(np.zeros((ROWS, 3), np.float32), at(0), None, 1.0)
    np.testing.assert_allclose(np.bincount(action, minlength=3) / ROWS, np.full(3, 1 / 3), atol=0.04)


def test_the_bonus_does_not_change_stored_values() -> None:
    """It is added when an action is selected: q, which is stored and trained on, stays the same."""
    one = explorer(rule="greedy", bonus=5.0)
    q = np.random.default_rng(0).standard_normal((ROWS, 3)).astype(np.float32)
    before = q.copy()
    one.select(q, at(2), None, 1.0)
    np.testing.assert_array_equal(q, before)


def test_the_bonus_is_in_units_of_the_scale() -> None:
    """c / (1 + n) times the scale: values ten times as large, with a scale ten times as large, are chosen alike."""
    q = np.random.default_rng(0).standard_normal((ROWS, 3)).astype(np.float32)
    for rule in ("boltzmann", "greedy"):
        one = explorer(rule=rule, bonus=1.0).select(q, at(2), None, 1.0)
        other = explorer(rule=rule, bonus=1.0).select(8 * q, at(2), None, 8.0)
        np.testing.assert_array_equal(one, other)


def test_restored_counts_equal_the_saved_counts() -> None:
    one, other = explorer(bonus=0.5), explorer(bonus=0.5)
    q = np.zeros((ROWS, 3), np.float32)
    one.select(q, at(3), None, 1.0)
    other.select(q, at(9), None, 1.0)  # its own counts are replaced
    other.load_state_dict(one.state_dict())
    assert one.counts is not None and other.counts is not None and one.counts.shape == (CODES, 3)
    np.testing.assert_array_equal(one.counts, other.counts)


# -- what each environment does --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["boltzmann", "epsilon"])
def test_each_row_explores_at_its_own_rung(rule: str) -> None:
    """The environment with the lowest rung is almost greedy, the one with the highest explores; both at their own rate."""
    one = explorer(rows=3, actions=2, rule=rule, low=0.01, high=1.0)
    q = np.tile(np.array([0.0, 1.0], np.float32), (3, 1))
    tried = np.mean([one.select(q, at(0, 3), None, 1.0) == 0 for _ in range(4_000)], axis=0)
    rungs = np.array([0.01, 0.1, 1.0])
    wanted = rungs / 2 if rule == "epsilon" else 1 / (1 + np.exp(1 / rungs))
    np.testing.assert_allclose(tried, wanted, atol=0.03)


@pytest.mark.parametrize("factor", [0.01, 100.0])
@pytest.mark.parametrize("bonus", [0.0, 1.0])
def test_rule_7_rewards_of_another_size_are_explored_the_same(factor: float, bonus: float) -> None:
    """Temperature and bonus are in units of the return scale."""
    q = np.random.default_rng(0).standard_normal((ROWS, 3)).astype(np.float32)
    one, other = (explorer(rule="boltzmann", bonus=bonus, low=0.3, high=0.3) for _ in range(2))
    for _ in range(3):
        np.testing.assert_array_equal(
            one.select(q, at(3), None, 1.0), other.select((q * factor).astype(np.float32), at(3), None, factor)
        )


@pytest.mark.parametrize("rule", ["boltzmann", "epsilon"])
def test_under_a_mask_the_same_rule_applies_to_the_allowed_actions(rule: str) -> None:
    q = np.tile(np.array([9.0, 1.0, 0.0, 0.5], np.float32), (ROWS, 1))
    mask = np.tile([False, True, True, True], (ROWS, 1))
    action = explorer(actions=4, rule=rule, low=0.6, high=0.6).select(q, at(0), mask, 1.0)
    logits = np.exp(np.array([1.0, 0.0, 0.5]) / 0.6)
    wanted = [0.6, 0.2, 0.2] if rule == "epsilon" else logits / logits.sum()
    np.testing.assert_allclose(np.bincount(action, minlength=4) / ROWS, [0.0, *wanted], atol=0.03)


def test_the_bonus_by_hand() -> None:
    """c / (1 + n): after n tries of action 0 the other one looks better once its bonus outweighs the gap."""
    one = explorer(rows=1, actions=2, rule="greedy", bonus=2.0)
    assert one.counts is not None
    for n, gap, wanted in ((3, 1.49, 1), (3, 1.51, 0), (7, 1.74, 1), (7, 1.76, 0)):  # 2 - 2/4 = 1.5;  2 - 2/8 = 1.75
        one.counts[7] = [n, 0]
        assert one.select(np.array([[gap, 0.0]], np.float32), at(7, 1), None, 1.0)[0] == wanted
    one.counts[7] = [3, 0]
    assert one.select(np.array([[9.9, 0.0]], np.float32), at(7, 1), None, scale=10.0)[0] == 1, "units of the scale"


def test_several_rows_at_one_observation_are_all_counted() -> None:
    one = explorer(rows=64, actions=2, rule="greedy", bonus=1.0)
    q = np.tile(np.array([5.0, 0.0], np.float32), (64, 1))
    before = q.copy()
    one.select(q, at(9, 64), None, 1.0)
    assert one.counts is not None and one.counts[9].tolist() == [64, 0]
    assert np.array_equal(q, before), "values that are stored and trained on have no bonus"


def test_only_rows_of_the_challenger_explore() -> None:
    """The others explore as little as the lowest rung, and get no bonus."""
    trying = np.array([False, False, True, True])
    config = ExplorationConfig(low=1e-6, high=10.0, bonus=100.0)
    one = Explorer(config, 4, 2, 0, trying)
    np.testing.assert_allclose(one.rungs, [1e-6, 1e-6, 1e-6, 10.0])
    q = np.tile(np.array([[1.0, 0.0]], np.float32), (4, 1))
    chosen = np.stack([one.select(q, at(0, 4), None, 1.0) for _ in range(40)])
    assert (chosen[:, :2] == 0).all() and (chosen[:, 2:] == 1).any(axis=0).all()
    annealed = Explorer(ExplorationConfig(low=1e-3, high=1e-3, bonus=0.0, initial=1.0, anneal=1.0), 4, 2, 0, trying)
    np.testing.assert_allclose(annealed._strength(0.0), [1e-3, 1e-3, 1.0, 1.0])


def test_annealing_is_geometric_also_from_a_start_that_is_not_one() -> None:
    made = explorer(rows=1, low=0.01, high=0.01, initial=0.25, anneal=0.5)
    # half of the way at a quarter of the run: the geometric mean of 0.25 and 0.01
    found = [float(made._strength(fraction)[0]) for fraction in (0.0, 0.25, 0.5, 1.0)]
    assert found == pytest.approx([0.25, 0.05, 0.01, 0.01])


def test_held_noise_is_sampled_again_when_its_time_is_over() -> None:
    made = explorer(rows=200, rule="boltzmann", low=1.0, high=1.0, duration_exponent=2.0)
    q = np.zeros((200, 3), np.float32)
    first = made.select(q, at(0, 200), None, scale=1.0)
    held = made.left.copy()
    second = made.select(q, at(0, 200), None, scale=1.0)
    assert (held > 0).any() and (held == 0).any()
    assert (second[held > 0] == first[held > 0]).all(), "held"
    share = float((second[held == 0] == first[held == 0]).mean())
    assert share == pytest.approx(1 / 3, abs=0.15), "sampled again: equal by chance"


# -- novelty ---------------------------------------------------------------------------------------------------------------


def test_every_second_environment_follows_novelty_with_its_own_weight() -> None:
    one = explorer(rows=8, novelty=0.3)
    assert (one.novelty[::2] == 0).all()
    np.testing.assert_allclose(sorted(one.novelty[1::2]), np.geomspace(0.003, 0.3, 4))
    assert not explorer(rows=8, novelty=0.0).novelty.any()
    assert not explorer(rows=1, novelty=0.3).novelty.any(), "a single environment follows the task"
    exploring = np.array([False, True, False, True])
    some = Explorer(ExplorationConfig(novelty=0.3), 4, 3, 0, exploring)
    assert some.novelty.tolist() == [0, 0, 0, pytest.approx(np.sqrt(0.003 * 0.3))]


def test_novelty_by_hand() -> None:
    """In return scales: a weight of 0.1 times 5 observations outweighs a gap of 4.9 at scale 10, but not one of 5.1."""
    novelty = np.tile(np.array([0.0, 5.0], np.float32), (2, 1))
    one = explorer(rows=2, actions=2, rule="greedy", novelty=0.1)
    one.novelty[1] = 0.1
    for gap, wanted in ((4.9, 1), (5.1, 0)):
        q = np.tile(np.array([gap, 0.0], np.float32), (2, 1))
        assert one.select(q, at(0, 2), None, 10.0, 1.0, novelty).tolist() == [0, wanted]
    q = np.tile(np.array([4.9, 0.0], np.float32), (2, 1))
    assert one.select(q, at(0, 2), np.array([[True, True], [True, False]]), 10.0, 1.0, novelty).tolist() == [0, 0]
