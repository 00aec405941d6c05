"""What a kind of observation has to say: which spaces are of it, how a leaf is read, checked, described and counted.

A new kind is a file beside this one, a line in `registry.py`, and an encoder (`seqel.networks.encoders`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from seqel.errors import SpaceError
from seqel.spaces.leaf import Leaf
from seqel.spaces.precision import shifted

__all__ = ["ArrayKind", "Hint", "Keys", "Normalise", "ObservationKind", "Sketch", "shape_of", "some"]

Keys = tuple[str | int, ...]
Hint = str | int  # what the setting `observation` says of a leaf
Normalise = Callable[[str, NDArray[Any]], NDArray[np.float32]]  # path, numbers -> numbers as the network sees them
Sketch = Callable[[NDArray[Any], Normalise], NDArray[np.int64]]  # (E, *shape) -> (E, sketch_width) codes


class ObservationKind(ABC):
    """One kind of leaf."""

    name: ClassVar[str]
    reads: ClassVar[str]  # how it is read, in the words of `seqel check`
    hints: ClassVar[str] = ""  # what the setting `observation` may say of such a leaf

    @abstractmethod
    def match(self, space: spaces.Space[Any], path: str, keys: Keys, hint: Hint | None) -> Leaf | None:
        """The leaf of a space of this kind; None for any other space, or a hint that asks for another kind.

        Raises:
            SpaceError: a space that is almost of this kind, and what would make it so. ConfigError: a hint that does not fit.
        """

    @abstractmethod
    def read(self, leaf: Leaf, value: Any, batch: int | None) -> NDArray[Any]:
        """A value as the environment gives it -> as it is stored, (*shape), or (batch, *shape).

        Raises:
            SpaceError: it is not what the space said.
        """

    def is_single(self, leaf: Leaf, value: Any) -> bool:
        """Whether a value in the shape of its space is one observation's, without a batch axis."""
        return bool(np.ndim(value) <= len(leaf.given))

    def lacks_batch_axis(self, leaf: Leaf, value: Any) -> bool:
        """As `is_single`, of a value in the shape of its space or flat."""
        return bool(np.ndim(value) <= min(len(leaf.given), len(leaf.shape)))

    def rows(self, value: Any) -> int:
        """How many observations a batch has."""
        return len(value)

    def hint(self, leaf: Leaf) -> Hint | None:
        """What has to be said so that another space is read as this leaf was; None: nothing."""
        return None

    def sketch_width(self, leaf: Leaf) -> int:
        """How many codes the sketch for exploration makes of one observation."""
        return int(np.prod(leaf.shape))

    def sketcher(self, leaf: Leaf, rng: np.random.Generator) -> Sketch:
        """What makes these codes: similar observations should share them."""
        return lambda x, normalise: np.asarray(x.reshape(len(x), -1), np.int64)


class ArrayKind(ObservationKind):
    """A kind whose value is one array in the shape of its space, or in the shape in which it is stored."""

    def read(self, leaf: Leaf, value: Any, batch: int | None) -> NDArray[Any]:
        lead = () if batch is None else (batch,)
        try:
            array = np.asarray(value)
            if array.shape not in ((*lead, *leaf.given), (*lead, *leaf.shape)):
                got = f"{list(array.shape)} {array.dtype}"
                raise SpaceError(
                    f"observation {leaf.path!r}: expected {[*lead, *leaf.given]} as its space says, got {got}"
                )
            array = array.reshape((*lead, *leaf.shape))
            stored = self.stored(leaf, array)
        except (TypeError, ValueError) as error:  # ragged, None, not numbers
            if isinstance(error, SpaceError):
                raise
            raise SpaceError(f"observation {leaf.path!r}: expected numbers, got {value!r:.80}") from error
        self.check(leaf, array, stored)
        return stored

    def stored(self, leaf: Leaf, array: NDArray[Any]) -> NDArray[Any]:
        """Values in the dtype of the leaf."""
        return shifted(leaf, array).astype(leaf.dtype, copy=False)

    def check(self, leaf: Leaf, array: NDArray[Any], stored: NDArray[Any]) -> None:
        """Raises SpaceError where `stored` is not what was given, or not what the space said."""
        if stored is not array and leaf.dtype != "float32" and not np.array_equal(stored, array):
            raise SpaceError(f"observation {leaf.path!r}: expected {leaf.dtype} as its space says, got {some(array)}")


def shape_of(space: spaces.Space[Any]) -> tuple[int, ...]:
    """As plain integers."""
    return tuple(int(n) for n in space.shape or ())


def some(array: NDArray[Any]) -> list[Any]:
    """The first few values, for a message."""
    found: list[Any] = array.reshape(-1)[:8].tolist()
    return found
