"""Environments for training in which half of the episodes show perturbed observations.

Each such episode draws one of the kinds, and a strength between 0 and the largest. What the agent cannot know from one
observation, it can infer from the history: the setting is the randomisation of Tobin et al. 2017, arXiv:1703.06907, as seen
by an agent with a memory (Peng et al. 2018, arXiv:1710.06537). Differs: dynamics and rewards stay as they are, and half of
the episodes are not perturbed, so that the agent also trains on what it is validated on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from seqel.errors import ConfigError
from seqel.robustness.leaves import LeafScale
from seqel.robustness.perturbation import PerturbedEnv
from seqel.robustness.registry import PERTURBATIONS

if TYPE_CHECKING:
    import gymnasium as gym

    from seqel.environments.resolve import EnvMaker

__all__ = ["RandomlyPerturbedEnv", "parse_strongest", "randomly_perturbed"]

CLEAN = 0.5  # share of the episodes that are not perturbed


class RandomlyPerturbedEnv(PerturbedEnv):
    """An environment that draws at each reset how observations are perturbed until the next.

    The draw follows from the episode's seed, if it has one.
    """

    def __init__(
        self, env: gym.Env[Any, Any], strongest: Sequence[tuple[str, float]], scales: Sequence[LeafScale], seed: int = 0
    ) -> None:
        self.strongest, self._scales = list(strongest), list(scales)
        name, strength = self.strongest[0]
        super().__init__(env, PERTURBATIONS[name](strength, self._scales), seed)

    def begin(self) -> None:
        """Draw the perturbation of an episode."""
        name, largest = self.strongest[int(self.rng.integers(len(self.strongest)))]
        kind, clean, share = PERTURBATIONS[name], self.rng.random() < CLEAN, self.rng.random()
        strength = math.floor(share * largest) + 1.0 if kind.whole else share * largest
        self.perturbation = kind(0.0 if clean else strength, self._scales)


def parse_strongest(entries: Sequence[str]) -> list[tuple[str, float]]:
    """Read ["KIND:LARGEST", ...]: ["typos:0.1"] -> [("typos", 0.1)].

    Raises ConfigError: no such kind, an attack (which needs an agent), one that is given twice, or no number above 0.
    """
    found: dict[str, float] = {}
    for entry in entries:
        name, _, number = (part.strip() for part in entry.partition(":"))
        if name not in PERTURBATIONS:
            raise ConfigError(f"perturb: expected one of {', '.join(PERTURBATIONS)}, got {name!r}")
        try:
            strength = float(number)
        except ValueError:
            strength = math.nan
        if not 0.0 < strength < math.inf:
            raise ConfigError(f"perturb: expected {name}:LARGEST with a number above 0, got {entry!r}")
        if name in found:
            raise ConfigError(f"perturb: expected each kind once, got {name} twice")
        found[name] = strength
    return list(found.items())


def randomly_perturbed(
    make: EnvMaker, strongest: Sequence[tuple[str, float]], scales: Sequence[LeafScale], seed: int = 0
) -> EnvMaker:
    """Return a function that makes the environment with randomly perturbed observations.

    strongest: kinds, each with its largest strength.

    Raises ConfigError: a strength out of range, no part of the observation that a kind changes, or a kind whose unit is the
    spread of numbers without bounds, which is not known before training.
    """
    for name, strength in strongest:
        kind = PERTURBATIONS[name](strength, scales)
        free = [one.leaf.path for one in kind.scales if one.leaf.kind == "vector" and not one.bounded]
        if kind.scaled and free:
            raise ConfigError(
                f"perturb: {name} needs bounds, and {free} have none, so their spread is only known after the warm-up: use "
                "learner.observation_noise or network.step_dropout, which act in updates"
            )
    return partial(_make, make, tuple(strongest), list(scales), seed)


def _make(
    make: EnvMaker, strongest: Sequence[tuple[str, float]], scales: list[LeafScale], seed: int
) -> gym.Env[Any, Any]:
    return RandomlyPerturbedEnv(make(), strongest, scales, seed)
