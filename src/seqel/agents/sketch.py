"""Sketches of observations: a number from a fixed range that similar observations share.

Exact for codes, rounded for a few numbers, signs of random projections for many (Tang et al. 2017, arXiv:1611.04717). The
number is a hash, so different observations occasionally share one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.spaces import ObservationSpec
from seqel.spaces.kinds.base import Normalise, Sketch
from seqel.spaces.kinds.registry import KINDS

__all__ = ["CODES", "ObservationSketch"]

BITS = 17
CODES = 1 << BITS


class ObservationSketch:
    """Sketches observations of one spec. `normalise` gives the numbers of a vector as the network sees them."""

    def __init__(self, observation: ObservationSpec, normalise: Normalise) -> None:
        self._leaves = observation.leaves
        self._normalise = normalise
        rng = np.random.default_rng(20_240_521)  # the sketch is part of the method, not of a run's seed
        self._odd: dict[str, NDArray[np.uint64]] = {}
        self._sketchers: dict[str, Sketch] = {}
        for leaf in self._leaves:
            kind = KINDS[leaf.kind]
            width = kind.sketch_width(leaf)
            self._odd[leaf.path] = rng.integers(1 << 62, size=width, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
            self._sketchers[leaf.path] = kind.sketcher(leaf, rng)

    def codes(self, observation: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Return each observation's number in [0, CODES). Leaves (E, *shape) -> (E,)."""
        total: NDArray[np.uint64] | None = None
        for leaf in self._leaves:
            code = self._sketchers[leaf.path](observation[leaf.path], self._normalise).astype(np.uint64)
            part = ((code + np.uint64(1)) * self._odd[leaf.path]).sum(axis=1, dtype=np.uint64)
            total = part if total is None else total * np.uint64(6364136223846793005) + part
        assert total is not None
        total ^= total >> np.uint64(29)
        found: NDArray[np.int64] = ((total * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - BITS)).astype(np.int64)
        return found
