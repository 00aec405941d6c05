from __future__ import annotations

import numpy as np
import polars as pl

from seqel.datasets.hashing import hash_names, hash_texts, splitmix64
from seqel.spaces.text_readers import hash_text


def test_texts_are_hashed_as_one_by_one() -> None:
    rng = np.random.default_rng(0)
    texts = [
        "",
        "a",
        "ab",
        "abc",
        "\x00\x01",
        "😀",
        *("日本語" * n for n in range(1, 30)),
        *("x" * n for n in range(55, 75)),
    ]
    texts += ["".join(map(chr, rng.integers(32, 0x2FFF, rng.integers(0, 90)))) for _ in range(300)]
    found = hash_texts(pl.Series([*texts, None]))
    np.testing.assert_array_equal(found, [hash_text(text) for text in [*texts, ""]])
    assert hash_texts(pl.Series([], dtype=pl.String)).shape == (0, 64)
    for length in (1, 2, 7, 200):
        found = hash_texts(pl.Series(texts), length)
        np.testing.assert_array_equal(found, [hash_text(text, length) for text in texts])
        np.testing.assert_array_equal(found[:, :64], hash_texts(pl.Series(texts))[:, :length])


def test_names_are_spread_evenly_and_never_change() -> None:
    found = hash_names(pl.Series([f"user {i}" for i in range(100_000)]))
    assert len(np.unique(found)) == 100_000
    shares = np.bincount((found >> np.uint64(60)).astype(int)) / len(found)
    assert np.abs(shares - 1 / 16).max() < 0.004  # five standard deviations
    # what is held out must not change with a version of anything
    np.testing.assert_array_equal(hash_names(pl.Series(["", "a", "é 黄"])), FIXED)
    assert len(np.unique(splitmix64(np.zeros(3, np.uint64), 1))) == 1
    assert splitmix64(np.zeros(1, np.uint64), 1)[0] != splitmix64(np.zeros(1, np.uint64), 2)[0]


FIXED = np.array([16294208416658607535, 2106293278287090, 17159194643646634968], np.uint64)
