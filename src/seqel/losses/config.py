"""What is learnt: the choice of target and error. No torch here, so that the command line can show it quickly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from seqel.errors import ConfigError

__all__ = ["ObjectiveConfig"]


@dataclass(frozen=True, slots=True)
class ObjectiveConfig:
    """Double Q-learning on every step of the window, with n-step or lambda returns."""

    discount: float | None = None  # gamma, a step; None: what the environment suggests, else 0.99
    lambda_: float = 0.9  # Peng's Q(lambda); 0: one-step targets
    trace: Literal["peng", "watkins"] = "peng"  # watkins: cut where the behaviour was not greedy
    n_step: int = 1  # used where lambda_ is 0
    double: bool = True  # the online network picks the next action, the target network values it
    error: Literal["squared", "huber"] = "squared"  # scalar values only; classified ones use cross-entropy

    def __post_init__(self) -> None:
        if self.discount is not None and not (math.isfinite(self.discount) and 0.0 <= self.discount <= 1.0):
            raise ConfigError(f"objective.discount: expected 0 <= discount <= 1, got {self.discount}")
        if not 0.0 <= self.lambda_ <= 1.0:
            raise ConfigError(f"objective.lambda_: expected 0 <= lambda_ <= 1, got {self.lambda_}")
        for name, choices in (("trace", ("peng", "watkins")), ("error", ("squared", "huber"))):
            if getattr(self, name) not in choices:
                raise ConfigError(f"objective.{name}: expected one of {choices}, got {getattr(self, name)!r}")
        if self.n_step < 1:
            raise ConfigError(f"objective.n_step: expected at least 1, got {self.n_step}")
        if self.n_step > 1 and self.lambda_ > 0:
            raise ConfigError(
                f"objective.n_step = {self.n_step} needs lambda_ = 0 (got {self.lambda_}): one or the other"
            )
