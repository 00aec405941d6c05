"""Text readers: what turns a text into an array of one shape, and how a leaf finds the reader that it was stored with.

A leaf is plain data, so it holds its reader's name only. The name identifies what the reader computes (it contains a digest
of the vocabulary or of the model's weights), so two readers of the same name are interchangeable, and one table of them
serves the whole process. Whoever makes or loads a reader calls `register`.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.errors import SpaceError
from seqel.spaces.leaf import Leaf

__all__ = [
    "HASHED", "LONGEST_TEXT", "TEXT_BUCKETS", "TEXT_LENGTH", "HashedReader", "TextReader", "hash_text",
    "is_registered", "reader_from_name", "reader_of", "register",
]  # fmt: skip

TEXT_LENGTH = 64  # byte trigrams of a text that are read, unless another number is asked for
LONGEST_TEXT = 4096
TEXT_BUCKETS = 4096
HASHED = ""  # the name in a leaf that is read as hashed trigrams; their number is the leaf's shape

_registered: dict[str, TextReader] = {}


class TextReader(ABC):
    """Turns texts into arrays of one shape and dtype, as they are stored in replay and given to an encoder."""

    name: str  # identifies what `read` computes
    reads: str  # in the words of `seqel check`
    shape: tuple[int, ...]
    dtype: str
    sizes: tuple[int, ...] = ()  # (number of codes,) if the array holds codes

    @abstractmethod
    def read(self, texts: Sequence[str]) -> NDArray[Any]:
        """Read R texts of any length, also empty ones.  -> (R, *shape)."""

    @abstractmethod
    def unread(self, text: str) -> int:
        """Return how many UTF-8 bytes at the end of the text `read` ignores."""

    def to_json(self) -> dict[str, Any]:
        """Return what is needed to make this reader again, as plain values."""
        return {}

    def leaf(self, path: str, keys: tuple[str | int, ...]) -> Leaf:
        """Return the leaf of a text that is read by this reader."""
        return Leaf(path, keys, "text", self.shape, self.dtype, sizes=self.sizes, reader=self.name)


class HashedReader(TextReader):
    """The first `length` byte trigrams, hashed to codes. Needs no vocabulary; word order is mostly lost."""

    name = HASHED
    reads = "text, as hashed byte trigrams"
    dtype = "int16"
    sizes = (TEXT_BUCKETS,)

    def __init__(self, length: int = TEXT_LENGTH) -> None:
        self.shape = (length,)

    def read(self, texts: Sequence[str]) -> NDArray[np.int16]:
        if not texts:
            return np.zeros((0, *self.shape), np.int16)
        return np.stack([hash_text(text, self.shape[0]) for text in texts])

    def unread(self, text: str) -> int:
        return max(0, len(text.encode("utf-8", errors="replace")) - self.shape[0])


@lru_cache(maxsize=16384)
def hash_text(text: str, length: int = TEXT_LENGTH) -> NDArray[np.int16]:
    """Hash a text's first `length` byte trigrams to 1..TEXT_BUCKETS-1; 0 is padding.  -> (length,) int16, read-only."""
    data = b"\x02" + text.encode("utf-8", errors="replace") + b"\x03"
    grams = [data[i : i + 3] for i in range(min(max(1, len(data) - 2), length))]
    codes = np.zeros(length, np.int16)
    codes[: len(grams)] = [zlib.crc32(gram) % (TEXT_BUCKETS - 1) + 1 for gram in grams]
    codes.flags.writeable = False
    return codes


def register(reader: TextReader) -> None:
    """Make a reader known to this process, for the leaves that name it."""
    _registered[reader.name] = reader


def is_registered(name: str) -> bool:
    """Return whether a reader is known to this process."""
    return name in _registered


def reader_of(leaf: Leaf) -> TextReader:
    """Return the reader of a text leaf. Raises SpaceError if it is not known to this process."""
    return HashedReader(leaf.shape[0]) if leaf.reader == HASHED else reader_from_name(leaf.reader)


def reader_from_name(name: str) -> TextReader:
    """Return a registered reader. Raises SpaceError if it is not known to this process."""
    found = _registered.get(name)
    if found is None:
        raise SpaceError(
            f"the text encoder {name!r} is not loaded: load the agent or the table that it belongs to first"
        )
    return found
