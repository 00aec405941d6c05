"""Category codes: Discrete, MultiDiscrete, small vectors of small integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from seqel.errors import SpaceError
from seqel.spaces.kinds.base import ArrayKind, Hint, Keys, shape_of, some
from seqel.spaces.kinds.integers import is_narrow, spread_of
from seqel.spaces.leaf import Leaf

__all__ = ["CODES_LIMIT", "CategoriesKind"]

CODES_LIMIT = 1 << 20  # codes that an embedding table still has a row for


class CategoriesKind(ArrayKind):
    """Codes that count from 0: `offset` is subtracted, `sizes` has the number of codes of each element."""

    name = "categories"
    reads = "category codes, one embedding for each"

    def match(self, space: spaces.Space[Any], path: str, keys: Keys, hint: Hint | None) -> Leaf | None:
        if hint is not None:
            return None
        if isinstance(space, spaces.Discrete):
            count = _codes(int(space.n), space, path)
            return Leaf(path, keys, self.name, (1,), "int64", (), (int(space.start),), (count,))
        if isinstance(space, spaces.MultiDiscrete):
            sizes = tuple(int(n) for n in space.nvec.reshape(-1))
            start = tuple(int(n) for n in space.start.reshape(-1))
            _codes(sum(sizes), space, path)
        elif isinstance(space, spaces.Box) and is_narrow(space) and np.prod(space.shape) <= 64:
            spread = spread_of(space)
            if not np.all(spread < 32):
                return None
            sizes = tuple(int(n) + 1 for n in spread)
            start = tuple(int(n) for n in space.low.reshape(-1))
        else:
            return None
        return Leaf(path, keys, self.name, (len(sizes),), "int64", shape_of(space), start, sizes)

    def stored(self, leaf: Leaf, array: NDArray[Any]) -> NDArray[Any]:
        codes: NDArray[np.int64] = array.astype(np.int64) - np.asarray(leaf.offset, np.int64)
        if codes.size and (codes.min() < 0 or (codes >= np.asarray(leaf.sizes)).any()):
            raise SpaceError(f"observation {leaf.path!r}: a value is outside its space, among {some(array)}")
        return codes

    def check(self, leaf: Leaf, array: NDArray[Any], stored: NDArray[Any]) -> None:
        """Nothing more: see `stored`."""


def _codes(count: int, space: spaces.Space[Any], path: str) -> int:
    """`count`, if a table with a row a code is still sensible."""
    if count > CODES_LIMIT:
        raise SpaceError(
            f"observation {path!r}: {space} has {count:,} codes, and each would need an embedding of its own; give it "
            f"as a Box of numbers, or as a MultiDiscrete of digits (at most {CODES_LIMIT:,} codes in all)"
        )
    return count
