"""Interactions of users with items, in order of time, and splits that keep the future out of training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqel.errors import DataError

__all__ = ["Interactions", "Queries", "Split"]

Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Interactions:
    """N interactions, sorted by user, and of each user by time. Make them with `Interactions.of`."""

    user: Codes  # (N,) code of the user, in `users`
    item: Codes  # (N,) code of the item, in `items`
    time: NDArray[np.float64]  # (N,) in any unit; without times, how many interactions of the user came before
    rating: NDArray[np.float32]  # (N,) 1 where none was given
    users: tuple[Any, ...]  # names
    items: tuple[Any, ...]

    @classmethod
    def of(
        cls,
        user: Sequence[Any] | NDArray[Any],
        item: Sequence[Any] | NDArray[Any],
        time: ArrayLike | None = None,
        rating: ArrayLike | None = None,
        items: Sequence[Any] | None = None,
    ) -> Interactions:
        """Sort interactions, each with the name of a user and of an item.

        time: interactions of a user at the same time stay in the order in which they are given; None: all do.
        items: the catalogue, in the order of its codes; None: the items that occur, sorted.

        Raises DataError: there are none, lengths differ, a time or rating is not finite, an item is not in the catalogue, or
        the catalogue contains an item twice.
        """
        columns = {"user": np.asarray(user), "item": np.asarray(item)}
        columns |= {name: np.asarray(x) for name, x in (("time", time), ("rating", rating)) if x is not None}
        sizes = {name: column.shape for name, column in columns.items()}
        if len(set(sizes.values())) > 1 or columns["user"].ndim != 1:
            raise DataError(f"interactions: expected columns of one length, got {sizes}")
        if not len(columns["user"]):
            raise DataError("interactions: expected at least one, got none")
        for name in ("time", "rating"):
            if name in columns:
                columns[name] = _finite(columns[name], name)
        users, codes = np.unique(columns["user"], return_inverse=True)
        names, which = _in_catalogue(columns["item"], items)
        order = np.lexsort((columns["time"], codes)) if "time" in columns else np.argsort(codes, kind="stable")
        codes = codes[order]
        ratings = columns.get("rating", np.ones(len(order)))[order].astype(np.float32)
        when = columns["time"][order].astype(np.float64) if "time" in columns else _places(codes)
        return cls(codes.astype(np.int64), which[order], when, ratings, tuple(users.tolist()), names)

    def __len__(self) -> int:
        return len(self.user)

    def __repr__(self) -> str:
        return f"Interactions({len(self):,} of {len(self.users):,} users with {len(self.items):,} items)"

    @property
    def starts(self) -> Codes:
        """Where the interactions of each user begin, and the end of the last one's, (users + 1,)."""
        return np.searchsorted(self.user, np.arange(len(self.users) + 1)).astype(np.int64)

    @property
    def counts(self) -> Codes:
        """How often each item occurs, (items,)."""
        return np.bincount(self.item, minlength=len(self.items)).astype(np.int64)

    def subset(self, rows: NDArray[np.bool_] | Codes) -> Interactions:
        """Return some of the interactions, in the same order, with the same users and items."""
        return Interactions(
            self.user[rows], self.item[rows], self.time[rows], self.rating[rows], self.users, self.items
        )

    def leave_one_out(self) -> Split:
        """Keep each user's last interaction for the test and the one before for validation.

        Users with fewer than three are in the training data alone.
        """
        starts = self.starts
        ends, sizes = starts[1:], np.diff(starts)
        users = np.flatnonzero(sizes >= 3)
        last = ends[users]
        keep = np.ones(len(self), np.bool_)
        keep[last - 1] = keep[last - 2] = False
        return Split(self.subset(keep), Queries(self, users, last - 2, last - 1), Queries(self, users, last - 1, last))

    def split_at(self, validation: float, test: float) -> Split:
        """Split by time, for all users: training before `validation`, the test from `test` on.

        There is a question for each user with interactions before and in the interval. Interactions at exactly one of the two
        times belong to the later part, so none is in two parts.

        Raises DataError: the times are not in order, or nothing is left to train on.
        """
        if not validation < test:
            raise DataError(f"expected a time for validation before that of the test, got {validation} and {test}")
        keep = self.time < validation
        if not keep.any():
            raise DataError(f"expected interactions before {validation}, to train on, got none")
        inner, outer = self.count_before(validation), self.count_before(test)
        starts, ends = self.starts[:-1], self.starts[1:]

        def asked(begin: Codes, end: Codes) -> Queries:
            users = np.flatnonzero((begin > starts) & (end > begin))
            return Queries(self, users, begin[users], end[users])

        return Split(self.subset(keep), asked(starts + inner, starts + outer), asked(starts + outer, ends))

    def count_before(self, time: float) -> Codes:
        """Return how many interactions each user had before this time, (users,)."""
        return np.bincount(self.user[self.time < time], minlength=len(self.users)).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Queries:
    """Q questions: which items come next for a user, after a part of the user's history."""

    source: Interactions
    user: Codes  # (Q,)
    stop: Codes  # (Q,) the row of `source` at which the history ends, and what comes next begins
    end: Codes  # (Q,) the row at which that ends

    def __len__(self) -> int:
        return len(self.user)

    @property
    def start(self) -> Codes:
        """The row of `source` at which each history begins, (Q,)."""
        return self.source.starts[self.user]

    def histories(self) -> list[Codes]:
        """Return the items of each history, in order."""
        return [self.source.item[a:b] for a, b in zip(self.start, self.stop, strict=True)]

    def targets(self) -> list[Codes]:
        """Return the items that came next."""
        return [self.source.item[a:b] for a, b in zip(self.stop, self.end, strict=True)]

    def ratings(self) -> NDArray[np.float64]:
        """Return the mean rating of the next items, (Q,)."""
        return np.array([self.source.rating[a:b].mean() for a, b in zip(self.stop, self.end, strict=True)], np.float64)

    def subset(self, which: NDArray[np.bool_] | Codes) -> Queries:
        """Return some of the questions."""
        return Queries(self.source, self.user[which], self.stop[which], self.end[which])

    def parts(self, size: int) -> Iterator[Queries]:
        """Yield the questions in parts of at most `size`."""
        return (self.subset(np.arange(a, min(a + size, len(self)))) for a in range(0, len(self), size))


@dataclass(frozen=True, slots=True)
class Split:
    """Interactions to train on, and questions whose answers are not among them."""

    train: Interactions
    validation: Queries
    test: Queries


def _finite(column: NDArray[Any], name: str) -> NDArray[np.float64]:
    try:
        found = column.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"interactions: {name}: expected numbers, got {column.dtype}: {error}") from error
    bad = np.flatnonzero(~np.isfinite(found))
    if len(bad):
        raise DataError(f"interactions: {name}: expected finite numbers, got {found[bad[0]]} in row {bad[0]}")
    return found


def _in_catalogue(item: NDArray[Any], items: Sequence[Any] | None) -> tuple[tuple[Any, ...], Codes]:
    """Return the catalogue's names, and the code of each item."""
    if items is None:
        names, codes = np.unique(item, return_inverse=True)
        return tuple(names.tolist()), codes.astype(np.int64)
    code = {name: place for place, name in enumerate(items)}
    if len(code) < len(items):
        twice = next(name for place, name in enumerate(items) if code[name] != place)
        raise DataError(f"catalogue: expected each item once, got {twice!r} twice")
    found = np.fromiter((code.get(name, -1) for name in item.tolist()), np.int64, len(item))
    if (found < 0).any():
        row = int(found.argmin())
        raise DataError(f"interactions: row {row}: item {item[row].item()!r} is not in the catalogue of {len(items):,}")
    return tuple(items), found


def _places(codes: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return 0, 1, 2, ... for the interactions of each user."""
    return (np.arange(len(codes)) - np.searchsorted(codes, codes)).astype(np.float64)
