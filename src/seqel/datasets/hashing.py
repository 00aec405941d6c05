"""Hashes of texts, many at once: the hashed trigrams that the network reads, and the hash that orders sessions."""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.extras import require
from seqel.spaces.text_readers import TEXT_BUCKETS, TEXT_LENGTH

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from polars import Series

__all__ = ["hash_names", "hash_texts", "splitmix64"]

ROWS = 65_536  # texts per block, which keeps the blocks of bytes small


def hash_texts(texts: Series, length: int = TEXT_LENGTH) -> NDArray[np.int16]:
    """Hash each text as `seqel.spaces.text_readers.hash_text`; a missing text counts as empty.  -> (N, length) int16."""
    parts = [_trigrams(texts[start : start + ROWS], length) for start in range(0, len(texts), ROWS)]
    return np.concatenate(parts) if parts else np.zeros((0, length), np.int16)


def _trigrams(texts: Series, length: int) -> NDArray[np.int16]:
    pl = require("polars")
    # \x02, then the text, then \x03; the first `length` trigrams are read.
    kept = texts.fill_null("").cast(pl.Binary).bin.slice(0, length + 2)
    data, size = _bytes(kept)
    block = np.zeros((len(size), length + 2), np.uint8)
    block[:, 0] = 2
    inside = np.minimum(size, length + 1)
    row = np.repeat(np.arange(len(size)), size)
    place = np.arange(len(data)) - np.repeat(np.cumsum(size) - size, size)
    fits = place < length + 1
    block[row[fits], place[fits] + 1] = data[fits]
    ends = np.flatnonzero(size == inside)
    ends = ends[size[ends] + 1 < length + 2]
    block[ends, size[ends] + 1] = 3
    first, second, third, constant = _tables()
    crc = first[block[:, :-2]] ^ second[block[:, 1:-1]] ^ third[block[:, 2:]] ^ constant
    codes: NDArray[np.int16] = (crc % (TEXT_BUCKETS - 1) + 1).astype(np.int16)
    grams = np.clip(size, 1, length)
    codes[np.arange(length)[None] >= grams[:, None]] = 0
    codes[size == 0, 0] = zlib.crc32(b"\x02\x03") % (TEXT_BUCKETS - 1) + 1
    return codes


@lru_cache(maxsize=1)
def _tables() -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32], np.uint32]:
    """Make tables: CRC-32 of three bytes is the exclusive or of one table entry per byte, and a constant."""
    zero = zlib.crc32(bytes(3))
    parts = [
        np.array(
            [zlib.crc32(bytes(value if at == place else 0 for at in range(3))) ^ zero for value in range(256)],
            np.uint32,
        )
        for place in range(3)
    ]
    return parts[0], parts[1], parts[2], np.uint32(zero)


def hash_names(names: Series) -> NDArray[np.uint64]:
    """Return a 64-bit hash of each text, (N,). Unlike polars' own, it is the same on every machine and with every version."""
    pl = require("polars")
    data, size = _bytes(names.cast(pl.Binary))
    start = np.cumsum(size) - size
    out = size.astype(np.uint64)
    if len(data):
        # a polynomial in an odd number modulo 2 ** 64, then mixed, so that similar names get very different hashes
        longest = int(size.max())
        powers = np.cumprod(np.full(longest, 0x9E3779B97F4A7C15, np.uint64), dtype=np.uint64)
        place = np.arange(len(data)) - np.repeat(start, size)
        terms = (data.astype(np.uint64) + np.uint64(1)) * powers[place]
        full = size > 0
        out[full] += np.add.reduceat(terms, start[full])
    return splitmix64(out)


def splitmix64(x: NDArray[np.uint64], seed: int = 0) -> NDArray[np.uint64]:
    """Apply splitmix64's finaliser.  (N,) -> (N,) uint64."""
    with np.errstate(over="ignore"):
        x = x + np.uint64((0x9E3779B97F4A7C15 * (seed + 1)) % (1 << 64))
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def _bytes(binary: Series) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the concatenated bytes of all values, and the length of each."""
    size: NDArray[np.int64] = binary.bin.size().cast(require("polars").Int64).to_numpy()
    joined: Any = b"".join(binary)
    return np.frombuffer(joined, np.uint8), size
