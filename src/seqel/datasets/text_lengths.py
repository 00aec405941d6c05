"""Counts how much of a text column is read and how much is cut off, for `seqel data check`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seqel.extras import require
from seqel.spaces.text_readers import HashedReader, TextReader

if TYPE_CHECKING:
    from polars import Series

__all__ = ["TextsRead"]


@dataclass
class TextsRead:
    """Counts how much of a text column is read and how much is cut off."""

    reader: TextReader
    texts: int = 0
    truncated: int = 0
    bytes: int = 0
    unread: int = 0

    def add(self, texts: Series) -> None:
        """Count a batch of texts."""
        known = texts.drop_nulls()
        size = known.str.len_bytes().cast(require("polars").Int64)
        if isinstance(self.reader, HashedReader):
            beyond = (size - self.reader.shape[0]).clip(lower_bound=0)
        else:
            beyond = require("polars").Series([self.reader.unread(text) for text in known], dtype=size.dtype)
        self.texts += len(size)
        self.truncated += int((beyond > 0).sum())
        self.bytes += int(size.sum())
        self.unread += int(beyond.sum())

    def to_json(self) -> dict[str, int]:
        """Return the counts, for the report; `length` is the number of bytes or tokens that are read of a text."""
        counts = {"texts": self.texts, "truncated": self.truncated, "bytes": self.bytes, "unread": self.unread}
        return {"length": self.reader.shape[0] if self.reader.sizes else 0, **counts}
