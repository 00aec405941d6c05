"""The group of each recorded session: a column of the table, which need not be observed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.datasets.importing import cells
from seqel.datasets.reading.table import Table, expand
from seqel.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqel.datasets.dataset import Dataset

__all__ = ["action_shares", "column_of_sessions", "session_metrics"]

MOST_ACTIONS = 8  # whose shares are compared, the most frequent ones


def column_of_sessions(dataset: Dataset, files: str | Path | Sequence[str | Path], column: str) -> list[str | None]:
    """Return the value of a column for each session of a dataset, in its order; None where it is missing.

    Raises:
        ConfigError: the dataset is not from a table. DataError: there is no such column, or a session has two values.
    """
    if dataset.schema is None:
        raise ConfigError("group: expected a table with a schema, got other data")
    session = dataset.schema.session
    table = Table([path.absolute() for path in expand(files)])
    table.require([column])
    found: dict[str, str] = {}
    for batch in table.batches({session: "text", column: "text"} if column != session else {session: "text"}):

        def refuse(name: str, row: int, expected: str, value: Any, first: int = batch.first) -> DataError:
            return table.refusal(first + row, name, expected, value)

        names = cells.texts(batch.rows[session], partial(refuse, session)).to_list()
        values = cells.texts(batch.rows[column], partial(refuse, column)).to_list()
        for row, (name, value) in enumerate(zip(names, values, strict=True)):
            if name is None or value is None or value == "":
                continue
            if found.setdefault(name, value) != value:
                raise refuse(column, row, f"{found[name]!r}, as in the rows before of session {name!r}", value)
    return [found.get(name) for name in dataset.sessions]


def session_metrics(dataset: Dataset) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return what is compared between groups: name -> numerator and denominator of each session, (n,) each."""
    buffer = dataset.buffer
    row, slot, _ = buffer.steps()
    n, steps = buffer.episodes, buffer.lengths.astype(np.float64)
    reward = np.asarray(buffer.slots.columns["reward"])[slot].astype(np.float64)
    total = np.bincount(row, reward, n).astype(np.float64)
    found: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {
        "steps per session": (steps, np.ones(n)),
        "reward per step": (total, steps),
        "return per session": (total, np.ones(n)),
    }
    names = [dataset.actions] if dataset.encoding is None else [list(one) for one in dataset.encoding.names]
    columns = ["action"] if dataset.schema is None else list(dataset.schema.action_columns)
    return found | action_shares(
        np.asarray(buffer.slots.columns["action"])[slot].astype(np.int64), row, n, names, columns
    )


def action_shares(
    actions: NDArray[np.int64], session: NDArray[np.int64], sessions: int, names: Sequence[Sequence[str]],
    columns: Sequence[str],
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:  # fmt: skip
    """Return the shares of the most frequent actions as metrics: actions (N, M) of steps, session (N,) of each."""
    steps = np.bincount(session, minlength=sessions).astype(np.float64)
    found: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    for dimension, (known, column) in enumerate(zip(names, columns, strict=True)):
        counts = np.bincount(actions[:, dimension], minlength=len(known))
        for code in np.argsort(-counts, kind="stable")[:MOST_ACTIONS].tolist():
            if counts[code]:
                taken = np.bincount(session, actions[:, dimension] == code, sessions).astype(np.float64)
                found[f"{column} = {known[code]}"] = (taken, steps)
    return found
