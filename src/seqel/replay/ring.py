"""The storage of the replay: a flat ring of preallocated slots, one per step, and the growing table of its episodes.

Both are plain containers that know nothing about the contents of windows. An episode of T transitions takes T + 1
contiguous slots (modulo the capacity), so the next observation is stored once. Both use numpy only.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.errors import ConfigError
from seqel.storage import mapped

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["EpisodeTable", "Ring", "window_units"]

RESIDENT = 64 << 20  # bytes of files read or written before their pages are released


def window_units(length: NDArray[np.int64], start: NDArray[np.int64], window: int, context: int) -> NDArray[np.int64]:
    """Return how many equally likely draws each episode or segment of `length` transitions gets, (N,) int64.

    With W = window and c = context, the raw start of a window runs over r = -(W - c) + 1, ..., L - c - 1 and its
    actual start is r clipped to 0 ... L - W. A window that starts inside an episode trains only its steps from c on.

    * L <= W: one window with W - c draws, so each of its steps is trained by W - c draws.
    * L > W: L - 2c + W - 1 draws. Start 0 has W - c of them (every r <= 0), and so has start L - W (every r >= L - W);
      each start in between has one. Step t >= c is trained by every r with t - W < r <= t - c, all of which are
      possible: W - c draws. Clipping adds to that: steps t in [c, W) are also trained by the other draws of start 0,
      and steps in [L - W + c, L) by the other draws of start L - W, in both cases fewer than W - c more. A step t < c is
      trained by start 0 only (at a true start): W - c draws. So every step gets at least W - c draws and, near an
      edge, fewer than 2 (W - c); where the edges overlap (W < L < 2W - c), fewer than 3 (W - c).
    * The first c steps of a segment (start > 0) are never trained: 0 draws if L <= c.

    Raises ConfigError if a window must start inside an episode and window <= context leaves no step to train.
    """
    units = np.where(length <= window, max(window - context, 1), length - 2 * context + window - 1)
    if window <= context and bool(((length > window) | (start > 0)).any()):
        raise ConfigError(
            f"expected window > context for windows that start inside an episode (context steps of burn-in have "
            f"no loss), got window={window}, context={context} and an episode of {int(length.max())} transitions: "
            "make the window longer or the context shorter"
        )
    units[(start > 0) & (length <= context)] = 0
    return units


class Ring:
    """A flat ring of `capacity` slots: one preallocated array per column, each (capacity, *shape).

    The arrays are in memory or in files in `directory`. With files, only about `RESIDENT` bytes count as the memory of the
    process; the operating system caches the rest as long as no other program needs the memory. The files are scratch: they
    belong to this object and are removed with it.

    Raises StorageError if the disk has no room for the files.
    """

    def __init__(
        self,
        columns: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]],
        capacity: int,
        directory: Path | None = None,
    ) -> None:
        self.columns: dict[str, NDArray[Any]] = {
            name: np.empty((capacity, *shape), dtype)
            if directory is None
            else mapped((capacity, *shape), dtype, directory)
            for name, (shape, dtype) in columns.items()
        }
        self.capacity = capacity
        self.next = 0  # where the next episode begins
        self.used = 0  # slots of live episodes; they are the `used` ones before `next`
        self._maps = _maps(self.columns)
        self._touched = 0  # bytes of the files used since pages were last released

    @classmethod
    def of(cls, columns: Mapping[str, NDArray[Any]]) -> Ring:
        """Wrap columns (capacity, *shape) whose slots are all filled; the ring is then read-only."""
        slots = cls({}, len(next(iter(columns.values()))))
        slots.columns, slots.used = dict(columns), slots.capacity
        slots._maps = _maps(columns)
        return slots

    @property
    def nbytes(self) -> int:
        return sum(column.nbytes for column in self.columns.values())

    def write(self, values: Mapping[str, NDArray[Any]]) -> int:
        """Append N steps, each value (N, *shape), and return the first slot. The caller must have made room."""
        begin, steps = self.next, len(next(iter(values.values())))
        head = min(steps, self.capacity - begin)
        for name, value in values.items():
            column = self.columns[name]
            column[begin : begin + head] = value[:head]
            column[: steps - head] = value[head:]
            self._touch(value.nbytes)
        self.next = (begin + steps) % self.capacity
        self.used += steps
        return begin

    def take(self, name: str, at: NDArray[np.int64]) -> NDArray[Any]:
        """Return slots of a column; `at` is taken modulo the capacity.  (N, ...) -> (N, ..., *shape)."""
        found: NDArray[Any] = self.columns[name].take(at, axis=0, mode="wrap")
        self._touch(found.nbytes)
        return found

    def _touch(self, size: int) -> None:
        """Count bytes read or written, and release pages of the files before too many are held."""
        self._touched += size
        if self._touched < RESIDENT or not self._maps:
            return
        self._touched = 0
        for pages in self._maps:
            if hasattr(pages, "madvise"):
                pages.madvise(mmap.MADV_DONTNEED)  # the file is shared, so what was written is not lost

    def live(self, only: str | None = None) -> dict[str, NDArray[Any]]:
        """Return a copy of the live slots, oldest first, each (used, *shape); `only`: for one column."""
        begin = (self.next - self.used) % self.capacity
        head = min(self.used, self.capacity - begin)
        return {
            name: np.concatenate([column[begin : begin + head], column[: self.used - head]])
            for name, column in self.columns.items()
            if only is None or name == only
        }

    def restore(self, values: Mapping[str, NDArray[Any]], begin: int) -> None:
        """Replace the contents with `values` (from `live`), starting at slot `begin`."""
        self.next, self.used = begin, 0
        self.write(values)


def _maps(columns: Mapping[str, NDArray[Any]]) -> list[mmap.mmap]:
    return [column._mmap for column in columns.values() if isinstance(column, np.memmap)]  # type: ignore[attr-defined]


class EpisodeTable:
    """The live episodes, oldest first, as rows of numpy arrays: O(1) amortised appends and evictions.

    The rows [head, tail) of each array are live. A full array doubles, or moves its live rows to the front if half of it
    is free. The running sum of window units is only extended by the rows added since the last draw.
    """

    # columns of `numbers`; the previous action follows them
    SLOT, LENGTH, START, TERMINATED, PREVIOUS_ACTION = range(5)

    def __init__(self, action_dims: int, room: int = 64) -> None:
        self._numbers = np.zeros((room, self.PREVIOUS_ACTION + action_dims), np.int64)
        self._previous_reward = np.zeros(room, np.float32)
        self._before = np.zeros(room + 1, np.int64)  # units of all rows before this one, plus a constant
        self._filled = 0  # `before` is valid for rows [head, filled], for the window and context of `key`
        self._key = (0, 0)
        self._head = self._tail = 0
        self.evicted = 0  # serial number of the oldest live episode

    @classmethod
    def of(cls, numbers: NDArray[np.int64], previous_reward: NDArray[np.float32], evicted: int) -> EpisodeTable:
        """Make a table of exactly these rows."""
        rows = len(numbers)
        table = cls(numbers.shape[1] - cls.PREVIOUS_ACTION, room=max(64, 2 * rows))
        table._numbers[:rows] = numbers
        table._previous_reward[:rows] = previous_reward
        table._tail, table.evicted = rows, evicted
        return table

    def __len__(self) -> int:
        return self._tail - self._head

    @property
    def nbytes(self) -> int:
        return self._numbers.nbytes + self._previous_reward.nbytes + self._before.nbytes

    @property
    def numbers(self) -> NDArray[np.int64]:
        """The live rows, (episodes, 4 + M): slot, length, start, terminated, previous action."""
        return self._numbers[self._head : self._tail]

    @property
    def previous_reward(self) -> NDArray[np.float32]:
        """The reward before each episode's first step, (episodes,)."""
        return self._previous_reward[self._head : self._tail]

    def append(self, numbers: NDArray[np.int64], previous_reward: float) -> None:
        """Append one row, numbers (4 + M,)."""
        if self._tail == len(self._numbers):
            self._make_room()
        self._numbers[self._tail] = numbers
        self._previous_reward[self._tail] = previous_reward
        self._tail += 1

    def evict(self) -> int:
        """Drop the oldest row and return its length in transitions."""
        length = int(self._numbers[self._head, self.LENGTH])
        self._head += 1
        self.evicted += 1
        return length

    def units_before(self, window: int, context: int) -> NDArray[np.int64]:
        """Return the running sum of `window_units` over the live rows, (episodes + 1,); only differences are meaningful."""
        head, tail = self._head, self._tail
        if self._key != (window, context) or self._filled < head:
            self._key, self._filled = (window, context), head
            self._before[head] = 0
        filled = self._filled
        if filled < tail:
            rows = self._numbers[filled:tail]
            units = window_units(rows[:, self.LENGTH], rows[:, self.START], window, context)
            self._before[filled + 1 : tail + 1] = self._before[filled] + np.cumsum(units)
            self._filled = tail
        return self._before[head : tail + 1]

    def _make_room(self) -> None:
        head, tail, room = self._head, self._tail, len(self._numbers)
        wider = room if head >= room // 2 else 2 * room
        for name, extra in (("_numbers", 0), ("_previous_reward", 0), ("_before", 1)):
            old = getattr(self, name)
            new = np.zeros((wider + extra, *old.shape[1:]), old.dtype)
            new[: tail - head + extra] = old[head : tail + extra]
            setattr(self, name, new)
        self._filled -= head
        self._head, self._tail = 0, tail - head
