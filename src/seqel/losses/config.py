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
    trace: Literal["peng", "watkins", "retrace"] = "peng"  # the others cut where the behaviour was not greedy
    n_step: int = 1  # used where lambda_ is 0
    double: bool = True  # the online network picks the next action, the target network values it
    error: Literal["squared", "huber"] = "squared"  # scalar values only; classified ones use cross-entropy
    # what keeps a learner near recorded data; 0: left out
    td_weight: float = 1.0  # weight of Q-learning itself; 0: imitation alone
    cql_alpha: float = 0.0  # alpha of conservative Q-learning: values of actions not taken are held down
    cql_temperature: float = 0.1  # in return scales: by how much two values must differ to be told apart
    cloning_weight: float = (
        0.0  # weight of predicting the recorded action (behaviour cloning; the supervised part of SQN)
    )
    iql_expectile: float = 0.0  # tau of IQL's state value, which is then bootstrapped from; 0.5 to 1
    awr_beta: float = 0.0  # beta: imitate the recorded actions that did better than their state's value

    def __post_init__(self) -> None:
        if self.discount is not None and not (math.isfinite(self.discount) and 0.0 <= self.discount <= 1.0):
            raise ConfigError(f"objective.discount: expected 0 <= discount <= 1, got {self.discount}")
        if not 0.0 <= self.lambda_ <= 1.0:
            raise ConfigError(f"objective.lambda_: expected 0 <= lambda_ <= 1, got {self.lambda_}")
        for name, choices in (("trace", ("peng", "watkins", "retrace")), ("error", ("squared", "huber"))):
            if getattr(self, name) not in choices:
                raise ConfigError(f"objective.{name}: expected one of {choices}, got {getattr(self, name)!r}")
        if self.n_step < 1:
            raise ConfigError(f"objective.n_step: expected at least 1, got {self.n_step}")
        if self.n_step > 1 and self.lambda_ > 0:
            raise ConfigError(
                f"objective.n_step = {self.n_step} needs lambda_ = 0 (got {self.lambda_}): one or the other"
            )
        for name in ("td_weight", "cql_alpha", "cloning_weight", "awr_beta"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"objective.{name}: expected 0 or more, got {getattr(self, name)}")
        if not 0.0 < self.cql_temperature < math.inf:
            raise ConfigError(f"objective.cql_temperature: expected more than 0, got {self.cql_temperature}")
        if not 0.0 <= self.iql_expectile < 1.0:
            raise ConfigError(f"objective.iql_expectile: expected 0 <= iql_expectile < 1, got {self.iql_expectile}")
        if self.td_weight == 0.0 and self.cloning_weight == 0.0:
            raise ConfigError(
                "objective: expected td_weight > 0 or cloning_weight > 0, got neither: nothing would be learned"
            )
        if self.awr_beta > 0.0 and not (self.iql_expectile > 0.0 and self.cloning_weight > 0.0):
            raise ConfigError(
                "objective.awr_beta: needs iql_expectile > 0 (a state value to compare with) and cloning_weight > 0 (what it "
                f"weights), got {self.iql_expectile} and {self.cloning_weight}"
            )
