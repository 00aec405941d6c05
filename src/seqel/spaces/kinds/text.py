"""Texts, as hashed byte trigrams."""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from seqel.errors import SpaceError
from seqel.spaces.kinds.base import Hint, Keys, ObservationKind
from seqel.spaces.leaf import Leaf

__all__ = ["TEXT_BUCKETS", "TEXT_TOKENS", "TextKind", "hash_text"]

TEXT_TOKENS = 64  # byte trigrams kept of a text
TEXT_BUCKETS = 4096


class TextKind(ObservationKind):
    """A text: its first trigrams, hashed."""

    name = "text"
    reads = "text, as hashed byte trigrams"

    def match(self, space: spaces.Space[Any], path: str, keys: Keys, hint: Hint | None) -> Leaf | None:
        if hint is not None:
            return None
        if isinstance(space, spaces.Text) or getattr(space.dtype, "kind", "") == "U":  # MiniGrid has a space of its own
            return Leaf(path, keys, self.name, (TEXT_TOKENS,), "int16", sizes=(TEXT_BUCKETS,))
        return None

    def read(self, leaf: Leaf, value: Any, batch: int | None) -> NDArray[Any]:
        texts = [value] if batch is None else list(value)
        if (batch is not None and len(texts) != batch) or not all(isinstance(text, str) for text in texts):
            wanted = "a text" if batch is None else f"{batch} texts"
            raise SpaceError(f"observation {leaf.path!r}: expected {wanted}, got {value!r:.80}")
        if batch is None:
            return hash_text(value, leaf.shape[0]).copy()  # the cached one is read-only
        if not texts:
            return np.zeros((0, *leaf.shape), np.int16)
        return np.stack([hash_text(text, leaf.shape[0]) for text in texts])

    def is_single(self, leaf: Leaf, value: Any) -> bool:
        return isinstance(value, str)

    lacks_batch_axis = is_single


@lru_cache(maxsize=16384)
def hash_text(text: str, length: int = TEXT_TOKENS) -> NDArray[np.int16]:
    """A text's first `length` byte trigrams, hashed to 1..TEXT_BUCKETS-1; 0 is padding.  (length,) int16."""
    data = b"\x02" + text.encode("utf-8", errors="replace") + b"\x03"
    grams = [data[i : i + 3] for i in range(min(max(1, len(data) - 2), length))]
    codes = np.zeros(length, np.int16)
    codes[: len(grams)] = [zlib.crc32(gram) % (TEXT_BUCKETS - 1) + 1 for gram in grams]
    codes.flags.writeable = False
    return codes
