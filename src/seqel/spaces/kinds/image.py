"""Pictures: uint8 of at least 20 x 20 whose `high` is 255, and planes of yes and no."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from seqel.spaces.kinds.base import ArrayKind, Hint, Keys, Sketch, shape_of
from seqel.spaces.kinds.integers import BRIGHTEST, require_grid
from seqel.spaces.leaf import Leaf, channels_last

__all__ = ["ImageKind"]

IMAGE_SIDE = 20  # a uint8 grid up to 255 with both sides at least this long is a picture, a smaller one holds codes
POOL = 8  # for counting, pictures are reduced to POOL x POOL cells of 8 grey levels


class ImageKind(ArrayKind):
    """A picture: a small convolutional network reads it."""

    name = "image"
    reads = "a picture (or planes of yes and no), read by a small convolutional network"
    hints = "pixels"

    def match(self, space: spaces.Space[Any], path: str, keys: Keys, hint: Hint | None) -> Leaf | None:
        if isinstance(space, spaces.Dict | spaces.Tuple) or hint not in (None, self.hints):
            return None
        if hint is not None:
            shape = require_grid(space, path, hint)
            return Leaf(path, keys, self.name, shape, "uint8", shape)
        if not isinstance(space, spaces.Box):
            return None
        shape = shape_of(space)
        if space.dtype == np.uint8 and _is_picture(shape) and np.max(space.high) == BRIGHTEST:
            return Leaf(path, keys, self.name, shape, "uint8", shape)
        if space.dtype == np.uint8 and _is_picture(shape) and np.max(space.high) <= 1:  # planes of yes and no
            return Leaf(path, keys, self.name, shape, "bool", shape)
        if space.dtype == np.bool_ and len(shape) == 3:  # planes of yes and no, as in MinAtar
            return Leaf(path, keys, self.name, shape, "bool", shape)
        return None

    def hint(self, leaf: Leaf) -> Hint | None:
        return self.hints if leaf.dtype == "uint8" else None

    def sketch_width(self, leaf: Leaf) -> int:
        return super().sketch_width(leaf) if leaf.dtype == "bool" else POOL * POOL

    def sketcher(self, leaf: Leaf, rng: np.random.Generator) -> Sketch:
        if leaf.dtype == "bool":
            return super().sketcher(leaf, rng)

        def sketch(x: Any, normalise: Any) -> Any:
            grey = x if x.ndim == 3 else x.mean(axis=-1 if leaf.channels_last else 1)
            height, width = (n // POOL * POOL for n in grey.shape[1:])
            cells = grey[:, :height, :width].reshape(len(x), POOL, height // POOL, POOL, width // POOL)
            return np.asarray((cells.mean(axis=(2, 4)) / 32).reshape(len(x), -1), np.int64)

        return sketch


def _is_picture(shape: tuple[int, ...]) -> bool:
    """Two sides of at least IMAGE_SIDE, after the channel axis is set aside."""
    if len(shape) == 3:
        shape = shape[:2] if channels_last(shape) else shape[1:]
    return len(shape) == 2 and min(shape) >= IMAGE_SIDE
