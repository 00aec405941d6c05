"""How an agent tries things out. No torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from seqel.errors import ConfigError

__all__ = ["ExplorationConfig"]


@dataclass(frozen=True, slots=True)
class ExplorationConfig:
    """A rule, a ladder of it over the parallel environments, and a bonus for what has hardly been tried."""

    rule: Literal["boltzmann", "epsilon", "greedy"] = "boltzmann"
    low: float = 1e-4  # the coldest environment's temperature (in units of the return scale), or smallest epsilon
    high: float = 3e-2  # the warmest environment's; equal to `low`: no ladder
    initial: float = 0.0  # where all start when `anneal` > 0
    anneal: float = 0.0  # fraction of the run over which each moves (geometrically) from `initial` to its rung
    persist: float = (
        0.0  # the random part is held for n steps, n with probability in proportion to n^-persist; 0: for one
    )
    bonus: float = 1.0  # c in c / sqrt(1 + n(observation, action)), in units of the return scale; 0: none

    def __post_init__(self) -> None:
        if self.rule not in ("boltzmann", "epsilon", "greedy"):
            raise ConfigError(f"exploration.rule: expected boltzmann, epsilon or greedy, got {self.rule!r}")
        if not 0.0 < self.low <= self.high < math.inf:
            raise ConfigError(f"exploration: expected 0 < low <= high, got low = {self.low}, high = {self.high}")
        if self.rule == "epsilon" and self.high > 1.0:
            raise ConfigError(f"exploration.high: expected an epsilon of at most 1, got {self.high}")
        if not 0.0 <= self.anneal <= 1.0 or (self.anneal > 0 and self.initial <= 0):
            raise ConfigError(
                f"exploration: expected 0 <= anneal <= 1, and initial > 0 where anneal > 0; got anneal = {self.anneal}, "
                f"initial = {self.initial}"
            )
        if self.persist != 0.0 and not 1.0 < self.persist < math.inf:
            raise ConfigError(f"exploration.persist: expected 0, or more than 1, got {self.persist}")
        if not 0.0 <= self.bonus < math.inf:
            raise ConfigError(f"exploration.bonus: expected at least 0, got {self.bonus}")
