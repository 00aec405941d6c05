"""Integer grids of category codes, such as MiniGrid's `image` (codes, not pixels)."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from seqel.errors import SpaceError
from seqel.spaces.kinds.base import ArrayKind, Hint, Keys, shape_of
from seqel.spaces.kinds.integers import CATEGORY_LIMIT, is_narrow, require_grid
from seqel.spaces.leaf import Leaf

__all__ = ["GridKind"]


class GridKind(ArrayKind):
    """A grid whose cells are codes: `sizes` has the number of codes of each channel."""

    name = "grid"
    reads = "a grid of category codes, one embedding for each"
    hints = "codes"

    def match(self, space: spaces.Space[Any], path: str, keys: Keys, hint: Hint | None) -> Leaf | None:
        if isinstance(space, spaces.Dict | spaces.Tuple) or hint not in (None, self.hints):
            return None
        if hint is not None:
            return self._leaf(space, path, keys, require_grid(space, path, hint))
        if not isinstance(space, spaces.Box) or len(shape_of(space)) not in (2, 3) or not is_narrow(space):
            return None
        if space.low.min() < 0 or space.high.max() >= CATEGORY_LIMIT:  # a code is kept in a byte
            return None
        return self._leaf(space, path, keys, shape_of(space))

    def _leaf(self, space: Any, path: str, keys: Keys, shape: tuple[int, ...]) -> Leaf:
        channels = shape[-1] if len(shape) == 3 else 1
        return Leaf(path, keys, self.name, shape, "uint8", shape, sizes=(int(np.max(space.high)) + 1,) * channels)

    def check(self, leaf: Leaf, array: NDArray[Any], stored: NDArray[Any]) -> None:
        super().check(leaf, array, stored)
        if stored.size and stored.max() >= leaf.sizes[0]:
            raise SpaceError(f"observation {leaf.path!r}: expected codes below {leaf.sizes[0]}, got {stored.max()}")

    def hint(self, leaf: Leaf) -> Hint | None:
        return self.hints
