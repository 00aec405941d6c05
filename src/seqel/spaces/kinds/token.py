"""Tokens of a text, one per step: the number of a token in the vocabulary of an agent that writes."""

from __future__ import annotations

from typing import Any

from gymnasium import spaces
from numpy.typing import NDArray

from seqel.errors import SpaceError
from seqel.spaces.kinds.base import ArrayKind, Hint, Keys, some
from seqel.spaces.leaf import Leaf

__all__ = ["TokenKind"]


class TokenKind(ArrayKind):
    """One token. No space of Gymnasium is of this kind (a Discrete space is categories); `seqel.language` makes its leaf."""

    name = "token"
    reads = "a token of a text, by its embedding"

    def match(self, space: spaces.Space[Any], path: str, keys: Keys, hint: Hint | None) -> Leaf | None:
        return None

    def check(self, leaf: Leaf, array: NDArray[Any], stored: NDArray[Any]) -> None:
        super().check(leaf, array, stored)
        if stored.size and (stored.min() < 0 or stored.max() >= leaf.sizes[0]):
            raise SpaceError(
                f"observation {leaf.path!r}: expected tokens from 0 to {leaf.sizes[0] - 1}, got {some(array)}"
            )
