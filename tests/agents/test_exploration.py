"""Exploration: frequencies against the distributions they claim, masks, counts, and what is saved."""

from __future__ import annotations

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


def test_the_bonus_tries_what_was_hardly_tried_here_and_nowhere_else() -> None:
    one = explorer(rows=1, rule="greedy", bonus=1.0)
    q = np.array([[0.3, 0.0, 0.0]], np.float32)
    here = [int(one.select(q, at(5, 1), None, 1.0)[0]) for _ in range(12)]
    assert set(here) == {0, 1, 2}, "all are tried although one looks better"
    later = [int(one.select(q, at(5, 1), None, 1.0)[0]) for _ in range(300)]
    assert np.mean(np.array(later) == 0) > 0.7, "and it wears off"
    again = [int(one.select(q, at(6, 1), None, 1.0)[0]) for _ in range(12)]
    assert set(again) == {0, 1, 2}, "another observation has counts of its own"


def test_counts_of_numbers_that_never_repeat_stay_bounded_and_still_meet() -> None:
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
    assert rows[0] == rows[1], "what looks alike is counted together"


def test_hashes_of_codes_do_not_collide_much() -> None:
    one = explorer(bonus=1.0)
    assert one.table is not None
    rows = one.table.rows({"observation": np.arange(1_000)[:, None]})
    assert len(np.unique(rows)) >= 985


def test_a_restored_explorer_chooses_the_same() -> None:
    one, other = explorer(bonus=0.5), explorer(bonus=0.5)
    q = np.random.default_rng(0).standard_normal((ROWS, 3)).astype(np.float32)
    one.select(q, at(3), None, 1.0)
    other.load_state_dict(one.state_dict())
    for _ in range(3):
        np.testing.assert_array_equal(one.select(q, at(3), None, 1.0), other.select(q, at(3), None, 1.0))


@pytest.mark.parametrize(
    "settings",
    [{"low": 0.0}, {"low": 0.2, "high": 0.1}, {"rule": "epsilon", "high": 2.0}, {"anneal": 0.5}, {"bonus": -1.0}],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="exploration"):
        ExplorationConfig(**settings)  # type: ignore[arg-type]
