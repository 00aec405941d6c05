"""One array of an observation: where it is found, how it is stored, and which kind it is of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from seqel.errors import SpaceError

__all__ = ["Leaf", "channels_last"]


def channels_last(shape: tuple[int, ...]) -> bool:
    """Whether three axes look like (height, width, channels), not like (channels, height, width)."""
    return shape[2] <= shape[0]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One array of an observation."""

    path: str  # key in the flat observation dict
    keys: tuple[str | int, ...]  # the way to it in the nested observation
    kind: str  # its name in `kinds/registry.py`
    shape: tuple[int, ...]  # as stored, without batch axes
    dtype: str  # as stored
    given: tuple[int, ...] = ()  # shape as the environment gives it; a vector or categories are stored flat
    offset: tuple[float, ...] = ()  # what is subtracted before storing: codes count from 0, large numbers fit float32
    sizes: tuple[int, ...] = ()  # categories: number of codes, an element; grid: codes, a channel; text: buckets
    low: tuple[float, ...] = ()  # vector: bounds, an element (infinite where there are none)
    high: tuple[float, ...] = ()
    reader: str = ""  # text: the name of its reader (`text_readers.py`); "": hashed trigrams

    @property
    def channels_last(self) -> bool:
        """Whether an image's or grid's channel axis is its last one (as in MiniGrid), not its first (as in Atari)."""
        return len(self.shape) == 3 and (channels_last(self.shape) or self.kind == "grid")

    def pick(self, observation: Any) -> Any:
        """This leaf's value in a nested observation.

        Raises:
            SpaceError: it is not there.
        """
        value = observation
        for key in self.keys:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError) as error:
                found = list(value) if isinstance(value, Mapping) else type(value).__name__
                raise SpaceError(f"the observation lacks {self.path!r}; found {found}") from error
        return value

    def __str__(self) -> str:
        detail = ""
        if self.kind == "categories":
            detail = f" of {'x'.join(map(str, self.sizes[:8]))}{'...' if len(self.sizes) > 8 else ''}"
        return f"{self.path}: {self.kind} {list(self.shape)} {self.dtype}{detail}"
