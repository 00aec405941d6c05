"""Perturbations of what a sensor delivers: noise, observations that are lost, late or repeated, and occluded patches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from seqel.robustness.leaves import NUMERIC, LeafScale
from seqel.robustness.perturbation import Perturbation

__all__ = ["Delay", "Drop", "GaussianNoise", "Occlusion", "Repeat"]


class GaussianNoise(Perturbation):
    """Adds independent Gaussian noise to numbers and pictures, kept within their bounds."""

    name = "noise"
    meaning = "Gaussian noise on numbers and pictures"
    unit = "standard deviation, in units of the network's scale (full brightness for pictures)"
    strengths = (0.0, 0.05, 0.1, 0.2, 0.4)
    kinds = NUMERIC
    highest = math.inf
    scaled = True

    def change(self, value: Any, scale: LeafScale, rng: np.random.Generator) -> Any:
        array = np.asarray(value)
        noise = rng.standard_normal(array.shape)
        return scale.clip(array + self.strength * scale.unit * noise, array)


class Drop(Perturbation):
    """Loses a step's observation: the agent sees neutral values in place of all leaves."""

    name = "drop"
    meaning = "observations lost: the middle of numbers, black pictures, empty texts"
    unit = "probability per step"
    strengths = (0.0, 0.1, 0.25, 0.5, 0.75)
    scaled = True

    def __call__(self, observation: Any, rng: np.random.Generator) -> Any:
        return super().__call__(observation, rng) if rng.random() < self.strength else observation

    def change(self, value: Any, scale: LeafScale, rng: np.random.Generator) -> Any:
        if scale.leaf.kind == "text":
            return ""
        array = np.asarray(value)
        return scale.clip(np.broadcast_to(scale.neutral, array.shape), array)


class Delay(Perturbation):
    """Shows the observation of k steps before; until there is one, the first."""

    name = "delay"
    meaning = "observations that arrive late"
    unit = "steps"
    strengths = (0.0, 1.0, 2.0, 4.0)
    highest = 1_000.0
    whole = True

    def reset(self) -> None:
        self.past: list[Any] = []

    def __call__(self, observation: Any, rng: np.random.Generator) -> Any:
        values = {scale.leaf.path: scale.leaf.pick(observation) for scale in self.scales}
        self.past = [*self.past, values][-1 - int(self.strength) :]
        return super().__call__(observation, rng)

    def change(self, value: Any, scale: LeafScale, rng: np.random.Generator) -> Any:
        return self.past[0][scale.leaf.path]


class Repeat(Perturbation):
    """Shows again what was shown at the step before."""

    name = "repeat"
    meaning = "the previous observation again (a frozen sensor)"
    unit = "probability per step"
    strengths = (0.0, 0.1, 0.25, 0.5, 0.75)

    def reset(self) -> None:
        self.shown: dict[str, Any] = {}

    def __call__(self, observation: Any, rng: np.random.Generator) -> Any:
        if not self.shown or rng.random() >= self.strength:
            self.shown = {scale.leaf.path: scale.leaf.pick(observation) for scale in self.scales}
        return super().__call__(observation, rng)

    def change(self, value: Any, scale: LeafScale, rng: np.random.Generator) -> Any:
        return self.shown[scale.leaf.path]


class Occlusion(Perturbation):
    """Covers a rectangle at a random place of each picture or grid, drawn again at each step."""

    name = "occlusion"
    meaning = "a covered patch at a random place of pictures and grids"
    unit = "share of the area"
    strengths = (0.0, 0.05, 0.1, 0.25, 0.5)
    kinds = ("image", "grid")

    def change(self, value: Any, scale: LeafScale, rng: np.random.Generator) -> Any:
        array = np.array(value)  # a copy
        last = scale.leaf.channels_last or array.ndim == 2
        height, width = array.shape[:2] if last else array.shape[1:3]
        side = math.sqrt(self.strength)
        rows, columns = round(side * height), round(side * width)
        if self.strength > 0:
            rows, columns = max(rows, 1), max(columns, 1)
        top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
        window: Any = (slice(top, top + rows), slice(left, left + columns))
        array[window if last else (slice(None), *window)] = 0
        return array
