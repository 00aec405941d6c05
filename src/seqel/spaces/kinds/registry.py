"""The kinds of observation, in the order in which a space is offered to them. A new kind: a file beside this, a line here."""

from __future__ import annotations

from typing import Any

from gymnasium import spaces

from seqel.errors import ConfigError, SpaceError
from seqel.spaces.kinds.base import Hint, Keys, ObservationKind
from seqel.spaces.kinds.categories import CategoriesKind
from seqel.spaces.kinds.entities import EntitiesKind
from seqel.spaces.kinds.grid import GridKind
from seqel.spaces.kinds.image import ImageKind
from seqel.spaces.kinds.text import TextKind
from seqel.spaces.kinds.token import TokenKind
from seqel.spaces.kinds.vector import VectorKind
from seqel.spaces.leaf import Leaf

__all__ = ["KINDS", "describe", "supported"]

KINDS: dict[str, ObservationKind] = {
    kind.name: kind
    for kind in (
        EntitiesKind(),
        ImageKind(),
        GridKind(),
        CategoriesKind(),
        TextKind(),
        TokenKind(),
        VectorKind(),
    )
}


def supported() -> str:
    """What can be observed, for messages."""
    leaves = "Box, Discrete, MultiDiscrete, MultiBinary, Text, Sequence of Box (F,)"
    return f"Supported: {leaves}, and Dict or Tuple of these, nested."


def describe(space: spaces.Space[Any], path: str, keys: Keys, hint: Hint | None) -> Leaf | None:
    """The leaf of a space, from the first kind that takes it; None for a Dict or Tuple, whose parts are leaves.

    Raises:
        SpaceError: no kind takes it. ConfigError: the hint does not fit.
    """
    if isinstance(space, spaces.Box) and 0 in space.shape:
        raise SpaceError(f"observation {path!r} has the empty space {space}. {supported()}")
    for kind in KINDS.values():
        leaf = kind.match(space, path, keys, hint)
        if leaf is not None:
            return leaf
    if isinstance(space, spaces.Dict | spaces.Tuple):
        return None
    if hint is not None:
        known = [kind.hints for kind in KINDS.values() if kind.hints]
        raise ConfigError(f"observation {path!r}: expected one of {known}, got {hint!r}")
    raise SpaceError(f"observation {path!r} has the unsupported space {space}. {supported()}")
