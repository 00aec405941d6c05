"""The benchmark of abstention: splits that keep calibrating and fresh sessions apart, and what a shift and steps do."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from seqel.safety.conformal import SessionDecisions

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from abstention import NoisyTMaze, Pool, realised_error, with_error


def pool(sessions: int = 300, seed: int = 0) -> Pool:
    """Sessions of 1 to 20 steps, a third of them hard: more uncertainty, and most decisions wrong. Hard ones come last."""
    rng = np.random.default_rng(seed)
    hard = np.arange(sessions) >= sessions * 2 // 3
    uncertainty, wrong = [], []
    for one in hard:
        steps = int(rng.integers(1, 21))
        uncertainty.append(rng.normal(1.0 if one else 0.0, 0.7) + 0.1 * rng.standard_normal(steps))
        wrong.append(rng.random(steps) < (0.8 if one else 0.02))
    return Pool.of(SessionDecisions(uncertainty, wrong), "share", None, {"easy, then hard": (~hard, hard)})


def test_the_bound_is_kept_on_fresh_sessions_and_lost_after_a_shift() -> None:
    found = pool()
    every = np.ones(300, bool)
    usual = with_error(found, 0.1, 50, 60, every, every)
    assert 0.07 < usual["error"] <= 0.1 + 2 * usual["standard_error"] and 0.0 < usual["standard_error"] < 0.05
    shifted = with_error(found, 0.1, 50, 60, *found.shifts["easy, then hard"])
    assert shifted["error"] > 0.2 and shifted["fresh"] == 100


def test_calibrating_sessions_are_not_fresh_and_those_left_out_are_neither() -> None:
    """With one session left out, the others and their order are the same: the standard error is that of the sessions."""
    found = pool(40)
    every = np.ones(40, bool)
    counts: list[int] = []
    for kept in (every, np.arange(40) != 7):
        result = realised_error(found, 0.2, 20, 30, every, every, kept)
        counts.append(len(np.unique(result["loss"])))
        assert np.isfinite(result["loss"]).all() and (result["share"] <= 1.0).all()
    again = realised_error(found, 0.2, 20, 30, every, every, every)
    assert np.array_equal(again["loss"], realised_error(found, 0.2, 20, 30, every, every, every)["loss"])
    assert min(counts) > 10, "splits differ"


def test_steps_as_sessions_worked_by_hand() -> None:
    """Two sessions of 10 and 1 steps, all decisions of the first wrong: 10 of 11 steps, half of the sessions."""
    decided = SessionDecisions([np.arange(10.0), np.zeros(1)], [np.ones(10, bool), np.zeros(1, bool)])
    found = Pool.of(decided, "share", None, {})
    assert found.step_jumps.uncertainty.tolist() == list(range(10)) and found.jumps.losses(np.inf) == pytest.approx(
        [1, 0]
    )
    episodes = SessionDecisions([np.zeros(3), np.zeros(2)], returns=np.array([0.0, 1.0]))
    both = Pool.of(episodes, "return", 0.5, {})
    assert len(both.step_jumps.uncertainty) == 3 and both.jumps.losses(np.inf).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_the_noise_of_the_maze_follows_the_seed(noise: float) -> None:
    seen = [NoisyTMaze(noise).reset(seed=3)[0] for _ in range(2)]
    assert np.array_equal(*seen) and (abs(seen[0][1]) == 1.0) == (noise == 0.0)
