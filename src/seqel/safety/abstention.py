"""Abstention: an agent leaves a decision to others if the decision's uncertainty reaches a threshold.

The uncertainty of a decision is one of these measures:

    gap       minus the difference between the two best scores (values, in units of reward)
    entropy   of the policy's probabilities over the allowed actions, in nats (a policy head that decides)
    overlap   probability that the second best action's return exceeds the best one's, if both were independent
              (heads "c51" and "quantile")

If only one action is allowed, the uncertainty is minus infinity. With several action dimensions, it is that of the most
uncertain dimension. `safety/conformal.py` chooses the threshold.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.errors import ConfigError

__all__ = ["LOSSES", "MEASURES", "Abstention", "uncertainty_of_scores"]

MEASURES = ("gap", "entropy", "overlap")
LOSSES = ("share", "any", "return")


def uncertainty_of_scores(scores: NDArray[np.floating], measure: str) -> NDArray[np.float64]:
    """Return the uncertainty "gap" or "entropy" of R decisions: scores (R, M, A), -inf where not allowed -> (R,).

    Raises ConfigError for another measure, which needs the network's outputs.
    """
    scores = scores.astype(np.float64)
    if measure == "gap":
        if scores.shape[-1] < 2:
            return np.full(len(scores), -np.inf)
        two = np.partition(scores, -2, axis=-1)[..., -2:]
        with np.errstate(invalid="ignore"):
            found = two[..., 0] - two[..., 1]  # -inf where only one action is allowed
    elif measure == "entropy":
        top = scores.max(axis=-1, keepdims=True)
        weight = np.exp(scores - top)
        share = weight / weight.sum(axis=-1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = -np.where(share > 0.0, share * np.log(share), 0.0).sum(axis=-1)
        found = np.where(np.isfinite(scores).sum(axis=-1) > 1, found, -np.inf)
    else:
        raise ConfigError(
            f"measure: expected 'gap' or 'entropy' for scores, got {measure!r}: calibrate with another measure"
        )
    return np.asarray(found.max(axis=-1))


@dataclass(frozen=True, slots=True)
class Abstention:
    """The threshold of an agent, and how it was found; part of the agent's description."""

    threshold: float | None  # abstain where the uncertainty is at least this; None: never
    measure: str
    error: float  # the bound on the mean loss of a session
    loss: str  # "share", "any" or "return", see `safety/conformal.py`
    level: float | None  # of "return": a session with a lower return is an error
    sessions: int  # that calibrated it
    risk: float  # mean loss of these sessions at the threshold
    coverage: float  # share of their decisions that are not abstained from
    agent: str  # fingerprint of the weights and rules that it holds for

    def __post_init__(self) -> None:
        numbers: tuple[Any, ...] = (
            self.error,
            self.risk,
            self.coverage,
            *(x for x in (self.threshold, self.level) if x is not None),
        )
        sound = all(
            isinstance(x, int | float) and not isinstance(x, bool) and abs(x) <= sys.float_info.max for x in numbers
        )
        if not sound or self.measure not in MEASURES or self.loss not in LOSSES:
            raise ConfigError(f"abstention: expected finite numbers and known names, got {self!r:.200}")

    @classmethod
    def from_json(cls, data: Any) -> Abstention:
        """Read what `to_json` returned. Raises ConfigError if it does not fit."""
        if not isinstance(data, Mapping):
            raise ConfigError(f"abstention: expected an object, got {data!r:.80}")
        try:
            return cls(**data)
        except TypeError as error:
            raise ConfigError(f"abstention: expected its entries, but {error}") from error

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def abstains(self, uncertainty: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return where the agent abstains, for uncertainties of any shape."""
        limit = math.inf if self.threshold is None else self.threshold
        found: NDArray[np.bool_] = uncertainty >= limit
        return found if self.threshold is not None else np.zeros(uncertainty.shape, bool)
