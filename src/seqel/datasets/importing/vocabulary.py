"""Numbers the names in a column while it is read: each gets the next number when it first appears; sorted at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seqel.datasets.encoding import VOCABULARY, natural
from seqel.errors import DataError
from seqel.extras import require

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from polars import Series

__all__ = ["Names", "vocabulary"]


class Names:
    """The distinct texts of a column, numbered in order of appearance, and how often each occurs."""

    def __init__(self, limit: int, explain: str) -> None:
        pl = require("polars")
        # polars forgets the numbers of a type as soon as no column has it, so this column keeps it alive.
        self._held = pl.Series([], dtype=pl.Categorical(pl.Categories.random()))
        self.names: Series = pl.Series([], dtype=pl.String)
        self.counts = np.zeros(0, np.int64)
        self._limit, self._explain = limit, explain

    def __len__(self) -> int:
        return len(self.counts)

    def codes(self, texts: Series) -> NDArray[np.int64]:
        """Return the number of each text, (N,), -1 where missing.

        Raises:
            DataError: there are more distinct texts than the limit.
        """
        known = len(self)
        coded = texts.cast(self._held.dtype)
        codes: NDArray[np.int64] = coded.to_physical().cast(require("polars").Int64).fill_null(-1).to_numpy()
        count = int(codes.max(initial=-1)) + 1
        if count > known:
            if count > self._limit:
                raise DataError(self._explain)
            fresh = np.flatnonzero(codes >= known)
            first = np.zeros(count - known, np.int64)
            first[codes[fresh[::-1]] - known] = fresh[::-1]  # the last write counts: the first appearance of each
            self.names = self.names.append(texts.gather(first))
            self.counts = np.concatenate([self.counts, np.zeros(count - known, np.int64)])
        self.counts[:count] += np.bincount(codes[codes >= 0], minlength=count)[:count]
        return codes


def vocabulary(known: Names) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the most frequent names, sorted; and provisional -> final code, with 0 (unknown) at the end for -1."""
    names = known.names.to_list()
    kept = range(len(names))
    if len(names) > VOCABULARY:
        ranked = sorted(kept, key=lambda code: (-known.counts[code], names[code]))
        kept = sorted(ranked[:VOCABULARY])  # type: ignore[assignment]
    ordered = natural(names[code] for code in kept)
    place = {name: code + 1 for code, name in enumerate(ordered)}
    return tuple(ordered), np.array([*(place.get(name, 0) for name in names), 0], np.int64)
