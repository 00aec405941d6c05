"""The settings of exploration. Does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seqel.errors import ConfigError
from seqel.settings import check, setting

__all__ = ["ExplorationConfig"]


@dataclass(frozen=True, slots=True)
class ExplorationConfig:
    """An exploration rule, a ladder of its strength over the parallel environments, and a bonus for rarely tried actions."""

    rule: Literal["boltzmann", "epsilon", "greedy"] = setting(
        "boltzmann",
        "How training actions are chosen: in proportion to exp(Q / temperature), uniformly at random with probability "
        "epsilon, or always greedily.",
    )
    low: float = setting(
        1e-4,
        "Temperature (boltzmann) or epsilon of the environment that explores least.",
        unit="return scales, or a probability",
        gt=0.0,
    )
    high: float = setting(
        3e-2,
        "Temperature or epsilon of the environment that explores most; the others are spaced evenly on a logarithmic scale "
        "in between. Equal to `low`: all explore alike.",
        unit="return scales, or a probability",
        gt=0.0,
    )
    initial: float = setting(
        0.0,
        "Temperature or epsilon with which every environment starts, if `anneal` is above 0.",
        unit="return scales, or a probability",
        ge=0.0,
    )
    anneal: float = setting(
        0.0,
        "Share of the run during which each environment moves from `initial` to its own value. 0: they start with it.",
        unit="share of the run",
        ge=0.0,
        le=1.0,
    )
    duration_exponent: float = setting(
        0.0,
        "Random choices are held for n steps, with probability proportional to n to the power of minus this value (a zeta "
        "distribution, as in ez-greedy exploration, Dabney et al. 2020, arXiv:2006.01782). 0: a new choice at every step.",
        gt=1.0,
        or_zero=True,
        known_as=("mu", "zeta", "ez_greedy", "persistence"),
        renamed_from=("persist",),
    )
    novelty: float = setting(
        1.0,
        "Largest weight of the novelty value, which is the expected number of observations that are new in the episode and "
        "that an action leads to. Every second environment has a weight, the smallest a hundredth of this one. 0: off.",
        unit="return scales per observation",
        ge=0.0,
        known_as=("curiosity", "intrinsic_reward", "rnd"),
    )
    bonus: float = setting(
        1.0,
        "Weight c of the count bonus c / (1 + n) of an action that was taken n times at this observation. 0: no bonus.",
        unit="return scales",
        ge=0.0,
    )

    def __post_init__(self) -> None:
        check(self, "exploration")
        if self.low > self.high:
            raise ConfigError(f"exploration: expected low <= high, got low = {self.low}, high = {self.high}")
        if self.rule == "epsilon" and self.high > 1.0:
            raise ConfigError(f"exploration.high: expected an epsilon of at most 1, got {self.high}")
        if self.anneal > 0.0 and self.initial == 0.0:
            raise ConfigError(f"exploration.initial: expected a number above 0 with anneal = {self.anneal}, got 0")
