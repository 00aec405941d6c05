"""Texts, as hashed byte trigrams."""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from seqel.errors import ConfigError, SpaceError
from seqel.spaces.kinds.base import Hint, Keys, ObservationKind
from seqel.spaces.leaf import Leaf

__all__ = ["LONGEST_TEXT", "TEXT_BUCKETS", "TEXT_TOKENS", "TextKind", "hash_text"]

TEXT_TOKENS = 64  # byte trigrams kept of a text, unless another number is asked for
LONGEST_TEXT = 4096
TEXT_BUCKETS = 4096


class TextKind(ObservationKind):
    """A text: its first trigrams, hashed."""

    name = "text"
    reads = "text, as hashed byte trigrams"
    hints = "N, the bytes of a text to read"

    def match(self, space: spaces.Space[Any], path: str, keys: Keys, hint: Hint | None) -> Leaf | None:
        # MiniGrid has a space of its own
        if not isinstance(space, spaces.Text) and getattr(space.dtype, "kind", "") != "U":
            return None
        length = TEXT_TOKENS if hint is None else hint
        if not isinstance(length, int) or isinstance(length, bool) or not 1 <= length <= LONGEST_TEXT:
            raise ConfigError(
                f"observation {path!r}: expected how many bytes of a text to read, from 1 to {LONGEST_TEXT}, got {hint!r}"
            )
        return Leaf(path, keys, self.name, (length,), "int16", sizes=(TEXT_BUCKETS,))

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

    def hint(self, leaf: Leaf) -> Hint | None:
        return None if leaf.shape[0] == TEXT_TOKENS else leaf.shape[0]

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
