from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqel.errors import ConfigError
from seqel.texts.cache import EmbeddingCache
from seqel.texts.embeddings import EmbeddingReader, fingerprint


class Counting:
    """Embeds a text as its length and number of words, and counts the texts that it was given."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, texts: Sequence[str]) -> Any:
        self.seen += texts
        return [[len(text), len(text.split())] for text in texts]


def test_each_different_text_is_encoded_once() -> None:
    embed = Counting()
    reader = EmbeddingReader("n", "r", embed, 2, {})
    found = reader.read(["a b", "c", "a b"])
    np.testing.assert_array_equal(found, np.array([[3, 2], [1, 1], [3, 2]], np.float32))
    reader.read(["c", "d"])
    assert embed.seen == ["a b", "c", "d"]
    assert reader.read([]).shape == (0, 2)


def test_another_process_finds_them_on_the_disk(tmp_path: Path) -> None:
    first, second = Counting(), Counting()
    for embed in (first, second):
        reader = EmbeddingReader("n", "r", embed, 2, {}, EmbeddingCache("n", 2, tmp_path))
        np.testing.assert_array_equal(reader.read(["a b", "c"]), np.array([[3, 2], [1, 1]], np.float32))
    assert first.seen == ["a b", "c"] and not second.seen


def test_memory_is_bounded() -> None:
    embed = Counting()
    reader = EmbeddingReader("n", "r", embed, 2, {})
    reader.keeps = 2
    assert reader.read(["a", "bb", "ccc"])[:, 0].tolist() == [1, 2, 3]
    reader.read(["ccc", "a"])
    assert embed.seen == ["a", "bb", "ccc", "a"]


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ([[1.0, float("nan")]], "finite numbers"), ([1.0, 2.0], r"expected an array \(1, 2\), got \[2\]"),
        ([[1.0, 2.0, 3.0]], "got \\[1, 3\\]"), ([[]], "got \\[1, 0\\]"), ("text", "raised ValueError"),
    ],
)  # fmt: skip
def test_what_is_no_vector_is_refused(returned: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        EmbeddingReader("n", "r", lambda texts: returned, 2, {}).read(["a"])


def test_an_error_of_the_function_is_named() -> None:
    def broken(texts: Sequence[str]) -> Any:
        raise KeyError("no such word")

    with pytest.raises(ConfigError, match="raised KeyError for 1 texts: 'no such word'"):
        EmbeddingReader("n", "r", broken, 2, {}).read(["a"])


def test_fingerprints_of_different_functions_differ() -> None:
    assert fingerprint(Counting()) == fingerprint(Counting())
    assert fingerprint(Counting()) != fingerprint(lambda texts: [[0.0, 1.0] for _ in texts])
