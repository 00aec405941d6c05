"""The guarantee of abstention, by simulation: it holds on average, broken variants do not keep it, and a shift loses it."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from seqel.errors import ConfigError, DataError
from seqel.safety.conformal import Jumps, SessionDecisions, calibrate, jumps_of


def draw(rng: np.random.Generator, sessions: int, shift: float = 0.0) -> SessionDecisions:
    """Sessions of 1 to 30 steps. A session is hard or easy as a whole, so its steps depend on each other: in a hard one most
    decisions are wrong, with uncertainties that are large but overlap those of easy sessions."""
    uncertainty, wrong = [], []
    for _ in range(sessions):
        hard = rng.random() < 0.3 + shift
        steps = int(rng.integers(1, 31))
        level = rng.normal(1.0 if hard else 0.0, 0.7)
        uncertainty.append(level + 0.1 * rng.standard_normal(steps))
        wrong.append(rng.random(steps) < (0.8 if hard else 0.02))
    return SessionDecisions(uncertainty, wrong, returns=np.array([-float(one.sum()) for one in wrong]))


@cache
def population(shift: float) -> SessionDecisions:
    """The sessions that losses are measured on."""
    return draw(np.random.default_rng(0), 20_000, shift)


def mean_risk(
    loss: str, error: float, n: int, broken: str = "", splits: int = 500, shift: float = 0.0
) -> tuple[float, float]:
    """Return the mean loss of a next session over many calibrations, and its standard error, of both sides' sampling."""
    rng = np.random.default_rng(1)
    level = -3.0 if loss == "return" else None
    risks = []
    pool = jumps_of(population(shift), loss, level)
    for _ in range(splits):
        found = draw(rng, n)
        jumps = jumps_of(found, loss, level)
        if broken == "off by one":  # n / (n + 1) mean + 1 / (n + 1) replaced by the mean
            more = np.append(jumps.uncertainty, np.inf), np.append(jumps.weight, 0.0), np.append(jumps.session, 0)
            jumps = Jumps(*more, n)
            threshold = _uncorrected(jumps, error)
        elif broken == "steps":  # steps as if they were sessions
            assert found.wrong is not None
            every = np.concatenate(list(found.uncertainty))
            bad = np.concatenate(list(found.wrong))
            threshold = calibrate(Jumps(every[bad], np.ones(int(bad.sum())), np.flatnonzero(bad), len(every)), error)
        else:
            threshold = calibrate(jumps, error)
        risks.append(pool.losses(threshold).mean())
    risk = float(np.mean(risks))
    return risk, math.sqrt(np.var(risks) / splits + risk * (1.0 - risk) / pool.sessions)


def _uncorrected(jumps: Jumps, error: float) -> float:
    order = np.argsort(jumps.uncertainty)
    over = np.flatnonzero(np.cumsum(jumps.weight[order]) / jumps.sessions > error)
    return float(jumps.uncertainty[order][over[0]]) if len(over) else math.inf


@pytest.mark.parametrize("loss", ["share", "any", "return"])
@pytest.mark.parametrize(("error", "n"), [(0.05, 19), (0.1, 20), (0.1, 100)])
def test_the_mean_loss_of_a_next_session_is_within_the_bound(loss: str, error: float, n: int) -> None:
    risk, deviation = mean_risk(loss, error, n, splits=400)
    assert risk <= error + 3 * deviation, f"{risk:.4f} +- {deviation:.4f}"


def test_the_bound_is_tight_where_it_can_be() -> None:
    """The mean loss is at least error - 2 / (n + 1) (theorem 2 of the paper; uncertainties are continuous)."""
    risk, deviation = mean_risk("any", 0.1, 99)
    assert 0.1 - 2 / 100 - 3 * deviation <= risk <= 0.1 + 3 * deviation


def test_leaving_out_the_correction_for_the_next_session_is_noticed() -> None:
    """With n = 20 and error 0.1, two errors pass instead of one, and the mean loss is about 3 / 21."""
    risk, deviation = mean_risk("any", 0.1, 20, broken="off by one")
    assert risk > 0.1 + 5 * deviation
    correct, _ = mean_risk("any", 0.1, 20)
    assert correct <= 0.1 < risk


@pytest.mark.parametrize("loss", ["share", "any"])
def test_counting_steps_as_if_they_were_sessions_is_noticed(loss: str) -> None:
    risk, deviation = mean_risk(loss, 0.1, 20, broken="steps")
    assert risk > 0.1 + 3 * deviation


def test_under_a_shift_the_bound_is_lost() -> None:
    """Twice as many hard sessions as in calibration: about twice the mean loss."""
    kept, _ = mean_risk("share", 0.1, 100)
    lost, deviation = mean_risk("share", 0.1, 100, shift=0.3)
    assert kept <= 0.1 and lost > 0.1 + 5 * deviation
    assert 1.5 < lost / kept < 2.5


def test_a_threshold_worked_by_hand() -> None:
    """Nine sessions, error 0.3: errors may add up to 0.3 * 10 - 1 = 2."""
    uncertainty = np.array([0.5, 0.1, 0.9, 0.9, 0.3])
    jumps = Jumps(uncertainty, np.ones(5), np.arange(5), 9)
    assert calibrate(jumps, 0.3) == 0.5, "0.1 and 0.3 may pass, 0.5 is abstained from"
    assert jumps.losses(0.5).tolist() == [0, 1, 0, 0, 1, 0, 0, 0, 0]
    assert calibrate(Jumps(uncertainty, np.full(5, 0.5), np.arange(5), 9), 0.3) == 0.9, (
        "ties are abstained from together"
    )
    assert calibrate(Jumps(uncertainty, np.full(5, 0.4), np.arange(5), 9), 0.3) == math.inf
    for error, n in ((0.05, 18), (0.1, 8)):
        with pytest.raises(DataError, match=f"at least {n + 1} sessions"):
            calibrate(Jumps(uncertainty[:0], uncertainty[:0], np.zeros(0, int), n), error)
        assert calibrate(Jumps(uncertainty[:0], uncertainty[:0], np.zeros(0, int), n + 1), error) == math.inf
    with pytest.raises(DataError, match="one allowed action"):
        calibrate(Jumps(np.full(5, -np.inf), np.ones(5), np.arange(5), 9), 0.3)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        calibrate(jumps, 1.0)


def test_losses_worked_by_hand() -> None:
    sessions = SessionDecisions(
        [np.array([0.1, 0.6, 0.2, 0.9]), np.array([0.3])], [np.array([True, True, False, False]), np.array([False])],
        np.array([1.0, -2.0]),
    )  # fmt: skip
    share, any_, total = (jumps_of(sessions, loss, 0.0) for loss in ("share", "any", "return"))
    assert [share.losses(x).tolist() for x in (0.1, 0.5, math.inf)] == [[0, 0], [0.25, 0], [0.5, 0]]
    assert [any_.losses(x).tolist() for x in (0.1, 0.5, math.inf)] == [[0, 0], [1, 0], [1, 0]]
    assert [total.losses(x).tolist() for x in (0.3, 0.4)] == [[0, 0], [0, 1]], "handed over: no error"
    assert sessions.coverage(0.5) == 0.6 and sessions.coverage(math.inf) == 1.0
    with pytest.raises(ConfigError, match="a level"):
        jumps_of(sessions, "return")


def test_losses_never_fall_when_the_threshold_rises_and_stay_within_one() -> None:
    sessions = draw(np.random.default_rng(0), 50)
    for loss in ("share", "any", "return"):
        jumps = jumps_of(sessions, loss, -3.0)
        steps = np.stack([jumps.losses(x) for x in (-np.inf, *np.linspace(-3, 4, 50), np.inf)])
        assert (np.diff(steps, axis=0) >= 0).all() and steps.min() == 0.0 and steps.max() <= 1.0 + 1e-12
