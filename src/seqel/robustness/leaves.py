"""The leaves of an observation that a perturbation changes: their unit of strength, their range, their neutral value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqel.networks.qnetwork import QNetwork
    from seqel.spaces import Leaf

__all__ = ["NUMERIC", "LeafScale", "leaf_scales", "numeric_units", "replaced"]

NUMERIC = ("vector", "image")  # kinds whose values are numbers on a scale


@dataclass(frozen=True, slots=True)
class LeafScale:
    """What strengths mean for one leaf, in the shape in which the environment gives it.

    A unit is what the network divides by: half the range of a bounded number, the standard deviation of an unbounded one
    (from the warm-up), and the full brightness of an image.
    """

    leaf: Leaf
    unit: NDArray[np.float64]  # (*given)
    low: NDArray[np.float64]  # (*given) infinite where there is no bound
    high: NDArray[np.float64]
    neutral: Any  # what stands for no observation: the middle of numbers, black, the first code, an empty text
    bounded: bool = True  # False: the unit of some number is its spread, which a warm-up measures

    def clip(self, changed: NDArray[np.float64], value: NDArray[Any]) -> NDArray[Any]:
        """Return the changed numbers in the dtype of the value, within the bounds, or as far outside as the value was."""
        low, high = np.minimum(self.low, value), np.maximum(self.high, value)
        kept = np.clip(changed, low, high)
        if not np.issubdtype(value.dtype, np.floating):
            kept = np.rint(kept)
        return kept.astype(value.dtype)


def numeric_units(network: QNetwork) -> dict[str, Tensor]:
    """Return the unit of each number of the leaves that can be moved, by path: (n,), or (1,) for an image."""
    encoders, device = network.tokens.vectors(), network.head.scale.device
    return {
        leaf.path: encoders[leaf.path].scale
        if leaf.kind == "vector"
        else torch.full((1,), 1.0 if leaf.dtype == "bool" else 255.0, device=device)
        for leaf in network.observation_spec.leaves
        if leaf.kind in NUMERIC
    }


def leaf_scales(network: QNetwork) -> dict[str, LeafScale]:
    """Return the scale of every leaf of the network's observation, by path."""
    encoders, units = network.tokens.vectors(), numeric_units(network)
    found = {}
    for leaf in network.observation_spec.leaves:
        # texts and sets of entities have no array of a fixed shape
        given = leaf.given if math.prod(leaf.given) == math.prod(leaf.shape) else leaf.shape
        offset = np.array(leaf.offset or 0.0)
        low, high = np.full(leaf.shape, -np.inf), np.full(leaf.shape, np.inf)
        unit, neutral = np.zeros(leaf.shape), np.zeros(leaf.shape) + offset
        if leaf.path in units:
            unit = np.broadcast_to(units[leaf.path].double().cpu().numpy(), leaf.shape)
        if leaf.kind == "vector":
            neutral = encoders[leaf.path].mean.double().cpu().numpy() + offset
            low, high = np.array(leaf.low) + offset, np.array(leaf.high) + offset
        elif leaf.kind == "image":
            low, high = np.zeros(leaf.shape), unit
        unit, low, high = (array.reshape(given) for array in (unit, low, high))
        bounded = leaf.kind != "vector" or bool(encoders[leaf.path].bounded.all())
        found[leaf.path] = LeafScale(
            leaf, unit, low, high, "" if leaf.kind == "text" else neutral.reshape(given), bounded
        )
    return found


def replaced(observation: Any, keys: tuple[str | int, ...], value: Any) -> Any:
    """Return a nested observation with another value at one place; the given one does not change."""
    if not keys:
        return value
    first, *rest = keys
    if isinstance(observation, Mapping):
        return {**observation, str(first): replaced(observation[str(first)], tuple(rest), value)}
    parts = list(observation)
    parts[int(first)] = replaced(parts[int(first)], tuple(rest), value)
    return tuple(parts)
