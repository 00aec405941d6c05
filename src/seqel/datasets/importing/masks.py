"""Reads action masks from a table, which can have them in one of three forms.

mask = "allowed"                      one column with a list of A yes/no values
mask = ["ask_ok", "refund_ok"]        A yes/no columns, in the order of the actions
candidates = "offered"                one column with a list of the names of the available actions
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
        self.width: int | None = None  # number of actions in a mask, if already known
        if isinstance(schema.mask, tuple):
            self.width = len(schema.mask)
        elif schema.candidates is not None:
            assert schema.actions is not None  # the schema requires it
            self.width = len(schema.actions)
        self.missing = 0

    def read(self, rows: Any, refuse: Callable[[str, int, str, Any], DataError]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the masks, (N, A) bool, True = allowed; and which are missing, (N,) bool, so that all are allowed.

        Raises:
            DataError: from `refuse(column, row, expected, value)`.
        """
        mask, candidates = self.schema.mask, self.schema.candidates
        if isinstance(mask, tuple):
            parts = [cells.flags(rows[column], partial(refuse, column)) for column in mask]
            return np.column_stack(parts), np.zeros(len(rows), bool)
        if candidates is not None:
            assert self.schema.actions is not None
            allowed, none = cells.sets(rows[candidates], partial(refuse, candidates), self.schema.actions)
        else:
            assert mask is not None
            found, none = cells.lists(rows[mask], partial(refuse, mask), self.width, FLAGS)
            bad = ((found != 0) & (found != 1)).any(axis=1)
            if bad.any():
                row = int(bad.argmax())
                raise refuse(mask, row, FLAGS, found[row].tolist())
            self.width, allowed = found.shape[1], found.astype(bool)
        self.missing += int(none.sum())
        return allowed, none
