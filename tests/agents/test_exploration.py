"""Exploration: observed frequencies against the stated distributions, masks, counts, and saved state."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from seqel.agents.config import ExplorationConfig
from seqel.agents.exploration import TABLE_ROWS, Explorer, ladder
from seqel.errors import ConfigError
from seqel.spaces import ObservationSpec

CODES = ObservationSpec.from_space(gym.spaces.Discrete(1_000))
ROWS = 4_000


def explorer(rows: int = ROWS, spec: ObservationSpec = CODES, actions: int = 3, **settings: object) -> Explorer:
    config = ExplorationConfig(**{"bonus": 0.0, **settings})  # type: ignore[arg-type]
    return Explorer(config, rows, spec, actions, 0, lambda path, x: np.asarray(x, np.float32))


def at(code: int, rows: int = ROWS) -> dict[str, np.ndarray]:
    return {"observation": np.full((rows, 1), code)}


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


def test_counts_of_continuous_observations_stay_bounded_and_are_shared() -> None:
    space = gym.spaces.Box(-np.inf, np.inf, (8,), np.float32)
    one = explorer(rows=64, spec=ObservationSpec.from_space(space), bonus=1.0)
    rng = np.random.default_rng(0)
    for _ in range(50):
        one.select(
            np.zeros((64, 3), np.float32), {"observation": rng.standard_normal((64, 8)).astype(np.float32)}, None, 1.0
        )
    assert one.table is not None and one.table.counts.shape == (TABLE_ROWS, 3)
    assert one.table.counts.sum() == 64 * 50
    near = rng.standard_normal((1, 8)).astype(np.float32) * 5
    rows = one.table.rows({"observation": np.concatenate([near, near + 1e-4])})
    assert rows[0] == rows[1], "similar observations are counted together"


def test_hashes_of_codes_do_not_collide_much() -> None:
    one = explorer(bonus=1.0)
    assert one.table is not None
    rows = one.table.rows({"observation": np.arange(1_000)[:, None]})
    assert len(np.unique(rows)) >= 985


@pytest.mark.parametrize("rule", ["boltzmann", "epsilon"])
def test_persistent_choices_have_the_stated_durations_and_frequencies(rule: str) -> None:
    """Durations follow n^-2 (a zeta distribution); the shares of the actions are the same as without it."""
    q = np.tile(np.array([0.0, 1.0, 0.5], np.float32), (ROWS, 1))
    settings: dict[str, Any] = {"rule": rule, "low": 0.5, "high": 0.5}
    one, held = explorer(**settings), explorer(persist=2.0, **settings)
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
    held = explorer(persist=2.0, low=0.1, high=0.1)
    flat, steep = np.zeros((ROWS, 3), np.float32), np.tile(np.array([0.0, 50.0, 0.0], np.float32), (ROWS, 1))
    held.select(flat, at(0), None, 1.0)
    assert (held.select(steep, at(0), None, 1.0) == 1).all()
    mask = np.tile(np.array([True, False, True]), (ROWS, 1))
    assert (held.select(steep, at(0), mask, 1.0) != 1).all(), "and masks do"


@pytest.mark.parametrize("persist", [0.0, 2.0])
def test_a_restored_explorer_chooses_the_same(persist: float) -> None:
    one, other = explorer(bonus=0.5, persist=persist), explorer(bonus=0.5, persist=persist)
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
        {"persist": 0.5},
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
    """c / sqrt(1 + n) times the scale: values ten times as large, with a scale ten times as large, are chosen alike."""
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
    assert one.table is not None and other.table is not None
    np.testing.assert_array_equal(one.table.counts, other.table.counts)


def test_images_of_either_layout_are_counted_by_their_content() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (1, 24, 30, 3), dtype=np.uint8)
    for space, x in (
        (gym.spaces.Box(0, 255, (24, 30, 3), np.uint8), pictures),
        (gym.spaces.Box(0, 255, (3, 24, 30), np.uint8), pictures.transpose(0, 3, 1, 2)),
        (gym.spaces.Box(0, 255, (24, 30), np.uint8), pictures[..., 0]),
    ):
        one = explorer(rows=1, spec=ObservationSpec.from_space(space), bonus=1.0)
        assert one.table is not None
        other = x.copy()
        other[:] = 255 - other // 2
        rows = one.table.rows({"observation": np.concatenate([x, x, other])})
        assert rows[0] == rows[1] != rows[2]


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
    """c / sqrt(1 + n): after n tries of action 0 the other one looks better once its bonus outweighs the gap."""
    one = explorer(rows=1, actions=2, rule="greedy", bonus=2.0)
    assert one.table is not None
    (row,) = one.table.rows(at(7, 1))
    for n, gap, wanted in ((3, 0.99, 1), (3, 1.01, 0), (15, 1.49, 1), (15, 1.51, 0)):  # 2 - 2/2 = 1;  2 - 2/4 = 1.5
        one.table.counts[row] = [n, 0]
        assert one.select(np.array([[gap, 0.0]], np.float32), at(7, 1), None, 1.0)[0] == wanted
    one.table.counts[row] = [3, 0]
    assert one.select(np.array([[9.9, 0.0]], np.float32), at(7, 1), None, scale=10.0)[0] == 1, "units of the scale"


def test_several_rows_at_one_observation_are_all_counted() -> None:
    one = explorer(rows=64, actions=2, rule="greedy", bonus=1.0)
    q = np.tile(np.array([5.0, 0.0], np.float32), (64, 1))
    before = q.copy()
    one.select(q, at(9, 64), None, 1.0)
    assert one.table is not None
    assert one.table.counts[one.table.rows(at(9, 1))[0]].tolist() == [64, 0]
    assert np.array_equal(q, before), "values that are stored and trained on have no bonus"


EVERY_KIND = gym.spaces.Dict(
    {
        "image": gym.spaces.Box(0, 255, (30, 44, 3), np.uint8),
        "first": gym.spaces.Box(0, 255, (4, 84, 84), np.uint8),
        "grey": gym.spaces.Box(0, 255, (24, 24), np.uint8),
        "grid": gym.spaces.Box(0, 9, (5, 5, 3), np.uint8),
        "words": gym.spaces.Text(9),
        "few": gym.spaces.Box(-1, 1, (2,)),
        "many": gym.spaces.Box(-1, 1, (9,)),
        "pair": gym.spaces.Tuple((gym.spaces.Discrete(3), gym.spaces.MultiBinary(4))),
    }
)


@pytest.mark.parametrize("changed", ["image", "first", "grey", "grid", "words", "few", "many", "pair/0", "pair/1"])
def test_every_kind_of_leaf_distinguishes_observations(changed: str) -> None:
    spec = ObservationSpec.from_space(EVERY_KIND)
    one = explorer(rows=2, spec=spec, bonus=1.0)
    EVERY_KIND.seed(1)
    a, b = (spec.flatten(EVERY_KIND.sample(), None) for _ in range(2))
    while np.array_equal(a[changed], b[changed]):
        b = spec.flatten(EVERY_KIND.sample(), None)
    if spec.storage[changed][0] in ((30, 44, 3), (4, 84, 84), (24, 24)):  # noise looks all the same in a sketch
        b[changed] = b[changed] // 8
    assert one.table is not None
    same, other = one.table.rows(
        {path: np.stack([leaf, b[path] if path == changed else leaf]) for path, leaf in a.items()}
    )
    again = one.table.rows({path: leaf[None] for path, leaf in a.items()})
    assert same == again[0] != other
    assert 0 <= min(same, other) <= max(same, other) < TABLE_ROWS


def test_only_rows_of_the_challenger_explore() -> None:
    """The others explore as little as the lowest rung, and get no bonus."""
    spec = ObservationSpec.from_space(gym.spaces.Discrete(2))
    trying = np.array([False, False, True, True])
    config = ExplorationConfig(low=1e-6, high=10.0, bonus=100.0)
    one = Explorer(config, 4, spec, 2, 0, lambda path, x: np.asarray(x, np.float32), trying)
    np.testing.assert_allclose(one.rungs, [1e-6, 1e-6, 1e-6, 10.0])
    path = spec.leaves[0].path
    q = np.tile(np.array([[1.0, 0.0]], np.float32), (4, 1))
    chosen = np.stack([one.select(q, {path: np.zeros(4, np.int64)}, None, 1.0) for _ in range(40)])
    assert (chosen[:, :2] == 0).all() and (chosen[:, 2:] == 1).any(axis=0).all()
    annealed = Explorer(
        ExplorationConfig(low=1e-3, high=1e-3, bonus=0.0, initial=1.0, anneal=1.0), 4, spec, 2, 0,
        lambda path, x: np.asarray(x, np.float32), trying,
    )  # fmt: skip
    np.testing.assert_allclose(annealed._strength(0.0), [1e-3, 1e-3, 1.0, 1.0])


def test_annealing_is_geometric_also_from_a_start_that_is_not_one() -> None:
    made = explorer(rows=1, low=0.01, high=0.01, initial=0.25, anneal=0.5)
    # half of the way at a quarter of the run: the geometric mean of 0.25 and 0.01
    found = [float(made._strength(fraction)[0]) for fraction in (0.0, 0.25, 0.5, 1.0)]
    assert found == pytest.approx([0.25, 0.05, 0.01, 0.01])


def test_held_noise_is_sampled_again_when_its_time_is_over() -> None:
    made = explorer(rows=200, rule="boltzmann", low=1.0, high=1.0, persist=2.0)
    q = np.zeros((200, 3), np.float32)
    first = made.select(q, at(0, 200), None, scale=1.0)
    held = made.left.copy()
    second = made.select(q, at(0, 200), None, scale=1.0)
    assert (held > 0).any() and (held == 0).any()
    assert (second[held > 0] == first[held > 0]).all(), "held"
    share = float((second[held == 0] == first[held == 0]).mean())
    assert share == pytest.approx(1 / 3, abs=0.15), "sampled again: equal by chance"
