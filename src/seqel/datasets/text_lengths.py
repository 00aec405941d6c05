"""Counts how much of a text column is read and how much is cut off, for `seqel data check`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from seqel.extras import require

if TYPE_CHECKING:
    from polars import Series

__all__ = ["TextsRead"]


@dataclass
class TextsRead:
    """Counts how much of a text column is read and how much is cut off."""

    length: int
    texts: int = 0
    cut: int = 0
    bytes: int = 0
    unread: int = 0

    def add(self, texts: Series) -> None:
        """Count a batch of texts."""
        size = texts.drop_nulls().str.len_bytes().cast(require("polars").Int64)
        beyond = (size - self.length).clip(lower_bound=0)
        self.texts += len(size)
        self.cut += int((beyond > 0).sum())
        self.bytes += int(size.sum())
        self.unread += int(beyond.sum())

    def to_json(self) -> dict[str, int]:
        """Return the counts, for the report."""
        return asdict(self)
