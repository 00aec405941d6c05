"""Reads action masks from a table, which can have them in one of three forms.

mask = "allowed"                      one column with a list of A yes/no values
mask = ["ask_ok", "refund_ok"]        A yes/no columns, in the order of the actions
candidates = "offered"                one column with a list of the names of the available actions

With several action columns, `mask` names a column for each of them, with a list of its A yes/no values.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.datasets.importing import cells
from seqel.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqel.datasets.schema import Schema

__all__ = ["Masks"]

FLAGS = "a list of true and false (or 1 and 0), one per action"


class Masks:
    """Reads the masks of a table batch by batch."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.several = len(schema.action_columns) > 1
        # number of actions in a mask, if already known, by dimension
        self.widths: list[int | None] = [None] * len(schema.action_columns)
        if isinstance(schema.mask, tuple) and not self.several:
            self.widths = [len(schema.mask)]
        elif schema.candidates is not None:
            assert schema.actions is not None  # the schema requires it
            self.widths = [len(schema.actions)]
        self.missing: dict[str, int] = {}  # column -> rows that do not say it

    def read(self, rows: Any, refuse: Callable[[str, int, str, Any], DataError]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the masks, (N, A) bool, True = allowed; and which are missing, (N,) bool, so that all are allowed.

        With M action columns: (N, sum of their A), end to end; (N, M).

        Raises:
            DataError: from `refuse(column, row, expected, value)`.
        """
        mask, candidates = self.schema.mask, self.schema.candidates
        if isinstance(mask, tuple) and self.several:
            found = [self._lists(rows, column, dim, refuse) for dim, column in enumerate(mask)]
            return np.concatenate([one for one, _ in found], axis=1), np.column_stack([none for _, none in found])
        if isinstance(mask, tuple):
            parts = [cells.flags(rows[column], partial(refuse, column)) for column in mask]
            return np.column_stack(parts), np.zeros(len(rows), bool)
        if candidates is not None:
            assert self.schema.actions is not None
            allowed, none = cells.sets(rows[candidates], partial(refuse, candidates), self.schema.actions)
            self._count(candidates, none)
            return allowed, none
        assert mask is not None
        return self._lists(rows, mask, 0, refuse)

    def _lists(
        self, rows: Any, column: str, dim: int, refuse: Callable[[str, int, str, Any], DataError]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        found, none = cells.lists(rows[column], partial(refuse, column), self.widths[dim], FLAGS)
        bad = ((found != 0) & (found != 1)).any(axis=1)
        if bad.any():
            row = int(bad.argmax())
            raise refuse(column, row, FLAGS, found[row].tolist())
        self.widths[dim] = found.shape[1]
        self._count(column, none)
        return found.astype(bool), none

    def _count(self, column: str, none: NDArray[Any]) -> None:
        self.missing[column] = self.missing.get(column, 0) + int(none.sum())
