"""Conformal risk control: the largest threshold of abstention whose mean loss per session stays below a bound.

Source: Angelopoulos, Bates, Fisch, Lei & Schuster 2024, "Conformal Risk Control" (ICLR; arXiv:2208.02814), theorem 1. For n
calibration sessions with losses L_i(threshold) in [0, B] that do not fall when the threshold rises, it is the largest
threshold with

    n / (n + 1) * mean L_i + B / (n + 1) <= error,    B = 1.

If the next session is exchangeable with these n, its expected loss is at most `error`. The expectation is over both the
calibration sessions and the next one; it is no bound for a given set of calibration sessions, and none where sessions differ
from those that calibrated (other users, a changed environment, an agent that was trained further).

The unit is the session. Steps of a session depend on each other, so they are not exchangeable, and a threshold that counts
them as if they were does not keep its bound.

Losses of a session, each in [0, 1]:

    share    share of its steps at which the agent decides and the action differs from the recorded one
    any      1 if the agent decides a step, and the action differs from the recorded one, at least once
    return   1 if its return is below a level and the agent never abstained; a session with an abstention is handed over
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqel.errors import ConfigError, DataError

__all__ = ["Jumps", "SessionDecisions", "calibrate", "jumps_of"]


@dataclass(frozen=True)
class SessionDecisions:
    """Decisions of n sessions in which the agent did not abstain."""

    uncertainty: Sequence[NDArray[np.floating]]  # of each session, (T_i,)
    wrong: Sequence[NDArray[np.bool_]] | None = None  # (T_i,) the action differs from the recorded one
    returns: NDArray[np.floating] | None = None  # (n,)
    actions: Sequence[NDArray[np.integer]] | None = None  # (T_i, M) what the agent would do, counted from 0

    def __len__(self) -> int:
        return len(self.uncertainty)

    def coverage(self, threshold: float) -> float:
        """Return the share of decisions that are not abstained from."""
        every = np.concatenate(list(self.uncertainty))
        return float(np.mean(every < threshold)) if threshold < math.inf else 1.0


@dataclass(frozen=True)
class Jumps:
    """The losses of n sessions as functions of the threshold: each rises by `weight` where that passes `uncertainty`."""

    uncertainty: NDArray[np.float64]  # (J,)
    weight: NDArray[np.float64]  # (J,) positive; those of a session add up to at most 1
    session: NDArray[np.int64]  # (J,)
    sessions: int

    def losses(self, threshold: float) -> NDArray[np.float64]:
        """Return the loss of each session, (n,). A decision is taken where its uncertainty is below the threshold."""
        passed = (self.uncertainty < threshold) | (threshold == math.inf)
        return np.bincount(self.session[passed], self.weight[passed], self.sessions).astype(np.float64)


def jumps_of(sessions: SessionDecisions, loss: str, level: float | None = None) -> Jumps:
    """Return the losses of sessions. Raises ConfigError if they lack what the loss needs."""
    uncertainties: list[NDArray[np.float64]] = []
    weights: list[NDArray[np.float64]] = []
    if loss == "return":
        if sessions.returns is None or level is None:
            raise ConfigError("loss 'return': expected the returns of sessions, and a level")
        for uncertainty, total in zip(sessions.uncertainty, sessions.returns, strict=True):
            bad = total < level and len(uncertainty) > 0
            uncertainties.append(np.array([np.max(uncertainty)], np.float64) if bad else np.zeros(0))
            weights.append(np.ones(int(bad)))
    elif loss in ("share", "any"):
        if sessions.wrong is None:
            raise ConfigError(f"loss {loss!r}: expected recorded actions to compare with")
        for uncertainty, wrong in zip(sessions.uncertainty, sessions.wrong, strict=True):
            at = np.asarray(uncertainty, np.float64)[wrong]
            if loss == "any":
                at = at[:0] if not len(at) else np.array([at.min()])
            uncertainties.append(at)
            weights.append(np.full(len(at), 1.0 if loss == "any" else 1.0 / max(1, len(uncertainty))))
    else:
        raise ConfigError(f"loss: expected 'share', 'any' or 'return', got {loss!r}")
    counts = [len(one) for one in uncertainties]
    empty = np.zeros(0)
    return Jumps(
        np.concatenate([empty, *uncertainties]), np.concatenate([empty, *weights]),
        np.repeat(np.arange(len(counts)), counts), len(counts),
    )  # fmt: skip


def calibrate(jumps: Jumps, error: float) -> float:
    """Return the largest threshold that keeps the bound; infinity: never abstain.

    Raises:
        ConfigError: error is not between 0 and 1. DataError: there are too few sessions (fewer than 1 / error - 1), or the
            loss cannot be kept below the bound, because decisions without an alternative are wrong too often.
    """
    if not 0.0 < error < 1.0:
        raise ConfigError(f"error: expected a number between 0 and 1, got {error}")
    n = jumps.sessions
    least = math.ceil(round(1.0 / error - 1.0, 9))
    if n < least:
        raise DataError(f"expected at least {least} sessions to bound the error by {error:g}, got {n}")
    order = np.argsort(jumps.uncertainty, kind="stable")
    uncertainty, total = jumps.uncertainty[order], np.cumsum(jumps.weight[order])
    room = error * (n + 1) - 1.0
    over = np.flatnonzero(total > room + 1e-9 * (n + 1))
    if not len(over):
        return math.inf
    found = float(uncertainty[over[0]])  # decisions with exactly this uncertainty are abstained from
    if found == -math.inf:
        raise DataError(
            f"expected a loss that abstention can keep below {error:g}; got more than that from decisions with one allowed "
            "action"
        )
    return found
