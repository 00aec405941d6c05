"""Embeddings on the disk, keyed by text, one file per model: a frozen model encodes each text once, in all runs.

The file is an SQLite database in the user's cache folder ($XDG_CACHE_HOME/seqel, by default ~/.cache/seqel), which several
processes may use at once. Each value carries a CRC-32; a value that is damaged counts as missing. A cache that cannot be
used is a warning, not an error.
"""

from __future__ import annotations

import re
import sqlite3
import warnings
import zlib
from collections.abc import Iterable, Sequence
from contextlib import closing
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seqel.storage import cache_folder

__all__ = ["EmbeddingCache"]

MOST = 500  # keys in one query; SQLite allows 32,766


class EmbeddingCache:
    """The embeddings of one model, each `width` float32."""

    def __init__(self, name: str, width: int, folder: Path | None = None) -> None:
        """name: identifies the model. folder: None: the user's cache folder."""
        self.path = (folder or cache_folder("embeddings")) / f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', name)}.sqlite"
        self.width = width
        self._usable = True

    def get(self, texts: Iterable[str]) -> dict[str, NDArray[np.float32]]:
        """Return the embeddings of those texts that are cached, each (width,)."""
        keys = {_key(text): text for text in texts}
        found: dict[str, NDArray[np.float32]] = {}
        if not self._usable or not keys or not self.path.exists():
            return found
        wanted = list(keys)
        try:
            with closing(self._connect()) as database:
                for start in range(0, len(wanted), MOST):
                    some = wanted[start : start + MOST]
                    query = f"SELECT key, value FROM embeddings WHERE key IN ({','.join('?' * len(some))})"
                    for key, value in database.execute(query, some):
                        vector = self._unpack(value)
                        if vector is not None:
                            found[keys[key]] = vector
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)
        return found

    def put(self, texts: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Store embeddings (R, width) of R texts."""
        if not self._usable:
            return
        rows = [(_key(text), _pack(vector)) for text, vector in zip(texts, vectors, strict=True)]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._connect()) as database, database:
                database.execute(
                    "CREATE TABLE IF NOT EXISTS embeddings (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID"
                )
                database.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?)", rows)
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=60.0)

    def _unpack(self, value: bytes) -> NDArray[np.float32] | None:
        data, crc = value[:-4], value[-4:]
        if len(data) != 4 * self.width or zlib.crc32(data).to_bytes(4, "little") != crc:
            return None
        return np.frombuffer(data, np.float32)

    def _give_up(self, error: Exception) -> None:
        self._usable = False
        warnings.warn(
            f"{self.path}: the cache of embeddings cannot be used ({error}); texts are encoded again in each run. If the "
            "file is damaged, delete it",
            stacklevel=4,
        )


def _key(text: str) -> bytes:
    return blake2b(text.encode("utf-8", errors="surrogatepass"), digest_size=16).digest()


def _pack(vector: NDArray[np.float32]) -> bytes:
    data = np.ascontiguousarray(vector, np.float32).tobytes()
    return data + zlib.crc32(data).to_bytes(4, "little")
