from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from seqel.texts.cache import EmbeddingCache

VECTORS = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_what_was_stored_is_found(tmp_path: Path) -> None:
    EmbeddingCache("model/a b", 3, tmp_path).put(["one", "\ud800"], VECTORS)
    found = EmbeddingCache("model/a b", 3, tmp_path).get(["\ud800", "one", "other"])
    assert set(found) == {"one", "\ud800"}
    np.testing.assert_array_equal(found["one"], VECTORS[0])
    assert not EmbeddingCache("another", 3, tmp_path).get(["one"])


def test_more_texts_than_one_query_takes(tmp_path: Path) -> None:
    texts = [str(n) for n in range(1_234)]
    vectors = np.arange(1_234, dtype=np.float32)[:, None]
    cache = EmbeddingCache("m", 1, tmp_path)
    cache.put(texts, vectors)
    assert {text: float(vector[0]) for text, vector in cache.get(texts).items()} == {
        text: float(text) for text in texts
    }


def test_a_damaged_value_counts_as_missing(tmp_path: Path) -> None:
    cache = EmbeddingCache("m", 3, tmp_path)
    cache.put(["one", "two"], VECTORS)
    with sqlite3.connect(cache.path) as database:
        key, value = database.execute("SELECT key, value FROM embeddings").fetchone()
        database.execute("UPDATE embeddings SET value = ? WHERE key = ?", (bytes([value[0] ^ 1]) + value[1:], key))
    database.close()
    assert len(cache.get(["one", "two"])) == 1


def test_a_file_that_is_no_database_is_a_warning(tmp_path: Path) -> None:
    cache = EmbeddingCache("m", 3, tmp_path)
    cache.path.write_bytes(b"no database, but long enough to be looked at" * 100)
    with pytest.warns(UserWarning, match="cannot be used .* delete it"):
        assert cache.get(["one"]) == {}
    cache.put(["one", "two"], VECTORS)  # does nothing, says nothing


def test_a_folder_that_cannot_be_made_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="cannot be used"):
        EmbeddingCache("m", 3, tmp_path / "file" / "below").put(["one", "two"], VECTORS)
