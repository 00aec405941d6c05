"""Places the steps of a batch's windows in rows: one window per row, or several short episodes per row.

A row of T + 1 tokens holds one window or, if packed, as many whole episodes as fit. Only a row's first window may start
inside an episode, because `SequenceBatch.previous_action` holds the action before it. Between two windows of a row is the
last observation of the first one, which has no transition: `valid` is False there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Placement", "place"]

LEAST_WIDTH = 64  # transitions: packed rows are at least this wide, so that a few rows hold many short episodes


@dataclass(frozen=True, slots=True)
class Placement:
    """The place of N tokens in R rows of T + 1 tokens."""

    leader: NDArray[np.int64]  # (R,)  the first window of each row
    last: NDArray[np.int64]  # (R,)  the last window of each row
    steps: int  # T
    window: NDArray[np.int64]  # (N,)  which window each token belongs to
    time: NDArray[np.int64]  # (N,)  its number in the window
    target: NDArray[np.int64]  # (N,)  its index in the flattened (R, T + 1)

    @property
    def rows(self) -> int:
        """R."""
        return len(self.leader)


def place(length: NDArray[np.int64], begins: NDArray[np.bool_], steps: int | None, pack: bool, width: int) -> Placement:
    """Place B windows of `length` transitions. `begins`: the window starts its episode, so it may follow another window.

    `steps` sets T. None: the length of the longest window, or when packing at least `LEAST_WIDTH` (at most `width`).
    """
    count = len(length)
    sizes = length + 1
    if not pack:
        order = row = np.arange(count)
        column = np.zeros(count, np.int64)
        steps = int(length.max()) if steps is None else steps
        leader = last = order
    else:
        if steps is None:
            steps = max(int(length.max()), min(width, LEAST_WIDTH))
        order, row, column, leader, last = _shelve(sizes, begins, steps + 1)
    window = np.repeat(order, sizes[order])
    ends = np.cumsum(sizes[order])
    time = np.arange(ends[-1]) - np.repeat(ends - sizes[order], sizes[order])
    target = np.repeat(row * (steps + 1) + column, sizes[order]) + time
    return Placement(leader, last, steps, window, time, target)


def _shelve(sizes: NDArray[np.int64], begins: NDArray[np.bool_], width: int) -> tuple[NDArray[np.int64], ...]:
    """Fill rows with the longest windows first. This loops over integers, not tensors, and takes microseconds."""
    order = np.argsort(-sizes, kind="stable")
    row, column, leader, last = [], [], [], []
    room = 0
    for index, size, whole in zip(order.tolist(), sizes[order].tolist(), begins[order].tolist(), strict=True):
        if not whole or size > room:
            leader.append(index)
            last.append(index)
            room = width
        row.append(len(leader) - 1)
        column.append(width - room)
        last[-1] = index
        room -= size
    return order, np.array(row), np.array(column), np.array(leader), np.array(last)
