"""The interface of a perturbation, and the environment in which an agent sees perturbed observations.

A perturbation stands between the environment and the agent: dynamics, rewards and action masks stay as they are (the
state-adversarial MDP of Zhang et al. 2020, arXiv:2003.08938).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import gymnasium as gym
import numpy as np

from seqel.errors import ConfigError
from seqel.robustness.leaves import LeafScale, replaced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seqel.environments.resolve import EnvMaker

__all__ = ["Perturbation", "PerturbedEnv", "perturbed"]


class Perturbation(ABC):
    """Changes the observations of one environment. At strength 0 it changes nothing.

    Raises ConfigError: the strength is out of range, or no leaf of the observation is of a kind that it changes.
    """

    name: ClassVar[str]
    meaning: ClassVar[str]
    unit: ClassVar[str]  # of the strength
    strengths: ClassVar[tuple[float, ...]]  # the usual ones, from 0
    kinds: ClassVar[tuple[str, ...]] = (
        "vector",
        "image",
        "grid",
        "categories",
        "text",
        "token",
    )  # leaves that it changes
    highest: ClassVar[float] = 1.0
    whole: ClassVar[bool] = False  # whether the strength is a whole number
    scaled: ClassVar[bool] = False  # whether it reads the mean or the spread of numbers

    def __init__(self, strength: float, scales: Sequence[LeafScale]) -> None:
        if not 0.0 <= strength <= self.highest or (self.whole and strength != round(strength)):
            number = "a whole number" if self.whole else "a number"
            most = "" if self.highest == float("inf") else f" to {self.highest:g}"
            raise ConfigError(f"{self.name}: expected {number} from 0{most}, got {strength:g}")
        self.strength = strength
        self.scales = [scale for scale in scales if scale.leaf.kind in self.kinds]
        if not self.scales:
            kinds = sorted({scale.leaf.kind for scale in scales})
            raise ConfigError(
                f"{self.name} changes leaves of the kinds {list(self.kinds)}, and the observation has {kinds}"
            )

    def reset(self) -> None:  # noqa: B027  (most perturbations have nothing to forget)
        """Start an episode."""

    def __call__(self, observation: Any, rng: np.random.Generator) -> Any:
        """Return what the agent sees in place of an observation, as the environment gives it."""
        for scale in self.scales:
            value = scale.leaf.pick(observation)
            observation = replaced(observation, scale.leaf.keys, self.change(value, scale, rng))
        return observation

    @abstractmethod
    def change(self, value: Any, scale: LeafScale, rng: np.random.Generator) -> Any:
        """Return what the agent sees in place of the value of one leaf."""


class PerturbedEnv(gym.Wrapper[Any, Any, Any, Any]):
    """An environment with perturbed observations. An episode's randomness follows from its seed, not from the number of
    parallel environments; the action mask in an observation is not changed."""

    def __init__(self, env: gym.Env[Any, Any], perturbation: Perturbation, seed: int = 0) -> None:
        super().__init__(env)
        self.perturbation, self.seed = perturbation, seed
        self.rng = np.random.default_rng(seed)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset; the seed also decides the perturbations."""
        if seed is not None:
            self.rng = np.random.default_rng([self.seed, seed])
        observation, info = self.env.reset(seed=seed, options=options)
        self.begin()
        self.perturbation.reset()
        return self._seen(observation), info

    def begin(self) -> None:
        """Prepare an episode, after its randomness is seeded."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step; only the observation is changed."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._seen(observation), reward, terminated, truncated, info

    def _seen(self, observation: Any) -> Any:
        """Return the perturbed observation, with texts as their space allows: characters of its set, and not too many."""
        seen = self.perturbation(observation, self.rng)
        for scale in self.perturbation.scales:
            if scale.leaf.kind != "text":
                continue
            text, space = scale.leaf.pick(seen), _subspace(self.env.observation_space, scale.leaf.keys)
            if text != scale.leaf.pick(observation) and not space.contains(text):
                kept = "".join(one for one in text if one in space.character_set)[: space.max_length]
                seen = replaced(seen, scale.leaf.keys, kept)
        return seen


def _subspace(space: Any, keys: tuple[str | int, ...]) -> Any:
    for key in keys:
        space = space[key]
    return space


def perturbed(
    make: EnvMaker, kind: type[Perturbation], strength: float, scales: Sequence[LeafScale], seed: int = 0
) -> EnvMaker:
    """Return a function that makes the environment with perturbed observations, each with a perturbation of its own."""
    kind(strength, scales)  # a wrong strength is reported here, not by a worker
    return partial(_make, make, kind, strength, list(scales), seed)


def _make(
    make: EnvMaker, kind: type[Perturbation], strength: float, scales: list[LeafScale], seed: int
) -> gym.Env[Any, Any]:
    return PerturbedEnv(make(), kind(strength, scales), seed)
