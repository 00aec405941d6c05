"""Texts as vectors of a frozen encoder: a pretrained Transformer, or any function from texts to vectors.

Each distinct text is encoded once and kept: in memory for as long as the process runs, and of a pretrained model also on
the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.errors import ConfigError
from seqel.texts.cache import EmbeddingCache
from seqel.texts.remembering import RememberingReader

__all__ = ["Embed", "EmbeddingReader", "fingerprint"]

Embed = Callable[[Sequence[str]], Any]  # R texts -> (R, W) numbers

PROBES = ("the quick brown fox", "你好", "")  # texts by whose vectors a function is recognised


class EmbeddingReader(RememberingReader):
    """Reads a text as one vector of float32."""

    dtype = "float32"
    keeps = 65_536

    def __init__(
        self,
        name: str,
        reads: str,
        embed: Embed,
        width: int,
        described: dict[str, Any],
        cache: EmbeddingCache | None = None,
        unread: Callable[[str], int] = lambda text: 0,
    ) -> None:
        super().__init__()
        self.name, self.reads, self.shape = name, reads, (width,)
        self._embed, self._described, self._cache, self._unread = embed, described, cache, unread

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self._cache is None:
            return checked(self._embed, texts, self.shape[0])
        known = self._cache.get(texts)
        missing = [text for text in texts if text not in known]
        if missing:
            vectors = checked(self._embed, missing, self.shape[0])
            self._cache.put(missing, vectors)
            known |= dict(zip(missing, vectors, strict=True))
        return np.stack([known[text] for text in texts])

    def unread(self, text: str) -> int:
        return self._unread(text)

    def to_json(self) -> dict[str, Any]:
        return self._described


def checked(embed: Embed, texts: Sequence[str], width: int | None = None) -> NDArray[np.float32]:
    """Call an encoder and check what it returns.  -> (R, W) float32.

    Raises:
        ConfigError: it raised, or returned something else than one vector of finite numbers per text.
    """
    try:
        found = np.asarray(embed(list(texts)), np.float32)
    except Exception as error:  # a function of the user may raise anything
        raise ConfigError(f"the text encoder raised {type(error).__name__} for {len(texts)} texts: {error}") from error
    expected = f"({len(texts)}, {'W' if width is None else width})"
    if found.ndim != 2 or len(found) != len(texts) or not found.shape[1] or found.shape[1] != (width or found.shape[1]):
        raise ConfigError(f"the text encoder: expected an array {expected}, got {list(found.shape)}")
    if not np.isfinite(found).all():
        row = int(np.argwhere(~np.isfinite(found))[0][0])
        raise ConfigError(f"the text encoder: expected finite numbers, got {found[row][:4]} for {texts[row]!r:.80}")
    return found


def fingerprint(embed: Embed) -> tuple[int, list[float]]:
    """Return a function's width, and a few of its numbers by which a saved agent recognises it."""
    found = checked(embed, PROBES)
    return found.shape[1], [round(float(number), 4) for number in found[:, : min(4, found.shape[1])].reshape(-1)]
