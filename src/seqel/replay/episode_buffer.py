"""Recorded episodes to sample from: existing columns (in memory or in files), and a selection of the episodes in them.

This is the read-only counterpart of the replay, with the same sampling and the same batches, so a learner works with either.
Several buffers may share columns: one for training episodes and one for held-out episodes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.errors import DataError
from seqel.replay.gathering import gather, sample_windows
from seqel.replay.layout import BEHAVIOUR, OBSERVATION, Layout
from seqel.replay.packing import place
from seqel.replay.ring import EpisodeTable, Ring
from seqel.replay.windows import Windows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from seqel.types import Episode, SequenceBatch

__all__ = ["EpisodeBuffer"]


class EpisodeBuffer:
    """A fixed set of episodes.

    columns: named as in `layout.columns()`, each (slots, *shape). An episode of T transitions takes T + 1 contiguous
    slots, the last one as `Layout.columns_of` makes it. numbers (episodes, 4 + M) int64: slot, length, start, terminated,
    previous action, as in `EpisodeTable`. previous_reward (episodes,): the reward before each, 0 at a true start.

    Raises DataError if there is no episode, or if the columns are not those of the layout.
    """

    def __init__(
        self,
        layout: Layout,
        columns: Mapping[str, NDArray[Any]],
        numbers: NDArray[np.int64],
        previous_reward: NDArray[np.float32] | None = None,
    ) -> None:
        expected = {name: (tuple(shape), dtype) for name, (shape, dtype) in layout.columns().items()}
        got = {name: (column.shape[1:], column.dtype) for name, column in columns.items()}
        if got != expected:
            raise DataError(f"expected the columns {expected}, got {got}")
        if len(numbers) == 0:
            raise DataError("expected at least one episode, got none")
        self.layout = layout
        before = np.zeros(len(numbers), np.float32) if previous_reward is None else previous_reward
        self.table = EpisodeTable.of(np.asarray(numbers, np.int64), before, 0)
        self.slots = Ring.of(columns)
        self._means: dict[int, float] = {}

    @classmethod
    def of(cls, layout: Layout, episodes: Sequence[Episode]) -> EpisodeBuffer:
        """Make a buffer from episodes in memory. Raises DataError if one does not fit the layout."""
        parts = [layout.columns_of(episode) for episode in episodes]
        if not parts:
            raise DataError("expected at least one episode, got none")
        columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        length = np.array([len(episode) for episode in episodes], np.int64)
        slot = np.cumsum(length + 1) - length - 1
        before = [layout.before(episode) for episode in episodes]
        facts = [(episode.start_step, int(episode.terminated)) for episode in episodes]
        numbers = np.column_stack([slot, length, np.array(facts, np.int64), np.stack([action for action, _ in before])])
        return cls(layout, columns, numbers, np.array([reward for _, reward in before], np.float32))

    def subset(self, rows: NDArray[np.integer]) -> EpisodeBuffer:
        """Return a buffer of some of the episodes that shares the columns."""
        table = self.table
        return EpisodeBuffer(self.layout, self.slots.columns, table.numbers[rows], table.previous_reward[rows])

    def copy_subset(self, rows: NDArray[np.integer]) -> EpisodeBuffer:
        """Return a buffer of some of the episodes with columns of its own in memory, which hold only these."""
        numbers = self.table.numbers[rows].copy()
        taken = numbers[:, EpisodeTable.LENGTH] + 1
        begin = np.cumsum(taken) - taken
        at = np.repeat(numbers[:, EpisodeTable.SLOT] - begin, taken) + np.arange(int(taken.sum()))
        numbers[:, EpisodeTable.SLOT] = begin
        columns = {name: column[at] for name, column in self.slots.columns.items()}
        return EpisodeBuffer(self.layout, columns, numbers, self.table.previous_reward[rows].copy())

    def __len__(self) -> int:
        """Return the number of transitions."""
        return int(self.table.numbers[:, EpisodeTable.LENGTH].sum())

    def __repr__(self) -> str:
        return f"EpisodeBuffer({len(self):,} transitions of {self.episodes:,} episodes)"

    @property
    def episodes(self) -> int:
        """The number of episodes."""
        return len(self.table)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The number of transitions of each episode, (episodes,)."""
        return self.table.numbers[:, EpisodeTable.LENGTH]

    def mean_length(self, window: int) -> float:
        """Return the mean length of the episodes, each counted up to `window`. The result is cached."""
        if window not in self._means:
            self._means[window] = float(np.minimum(self.lengths, window).mean())
        return self._means[window]

    def returns(self, discount: float = 1.0) -> NDArray[np.float64]:
        """Return the return of each episode, discounted from its first step, (episodes,)."""
        total = np.zeros(self.episodes)
        row, slot, time = self.steps()
        np.add.at(total, row, self.slots.columns["reward"][slot].astype(np.float64) * discount**time)
        return total

    def actions(self) -> NDArray[np.int64]:
        """Return all actions, episode by episode, (N, M)."""
        return self.slots.columns["action"][self.steps()[1]].astype(np.int64)

    def steps(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the episode, the slot and the number in the episode of each transition; (N,) each."""
        length = self.lengths
        row = np.repeat(np.arange(self.episodes), length)
        time = np.arange(len(row)) - np.repeat(np.cumsum(length) - length, length)
        return row, self.table.numbers[row, EpisodeTable.SLOT] + time, time

    def sample(
        self, batch: int, *, window: int, context: int, discount: float, rng: np.random.Generator, **options: Any
    ) -> SequenceBatch:
        """Sample as `Replay.sample` does: B windows of at most `window` transitions, every step about equally often."""
        return sample_windows(
            self.layout, self.slots, self.table, None, batch,
            window=window, context=context, discount=discount, rng=rng, **options,
        )  # fmt: skip

    def batches(self, *, window: int, context: int, discount: float, tokens: int = 16_384) -> Iterator[SequenceBatch]:
        """Yield batches in which every transition is in `loss_mask` exactly once, in order, about `tokens` per batch.

        An episode longer than `window` is cut into several windows, all but the first with `context` steps of burn-in.
        `episode_index` (B,) is the episode and `start_step` (B,) the window's first step, so that results can be put in
        order again.

        Raises DataError if a window is not longer than its burn-in and an episode needs several windows.
        """
        numbers = self.table.numbers
        length = self.lengths
        stride = window - context
        if stride < 1 and bool((length > window).any()):
            raise DataError(f"expected window > context to cut long episodes, got {window} and {context}")
        # windows begin at 0, W - c, 2 (W - c), ...: as many as it takes to reach the last step
        count = np.where(length <= window, 1, 1 + -(-(length - window) // max(stride, 1)))
        row = np.repeat(np.arange(len(length)), count)
        offset = (np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)) * max(stride, 1)
        size = np.minimum(length[row] - offset, window)
        first = 0
        total = np.cumsum(size + 1)
        while first < len(row):
            done = total[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(total, done + tokens, side="right")))
            part = slice(first, last)
            windows = Windows(row[part], offset[part], numbers[row[part]], size[part])
            begins = windows.numbers[:, EpisodeTable.START] + windows.offset == 0
            placement = place(windows.length, begins, None, False, window)
            yield gather(self.layout, self.slots, self.table, windows, placement, context, discount)
            first = last

    def observations(self, path: str, limit: int = 1_000_000) -> NDArray[Any]:
        """Return the first `limit` observations of one leaf, episode by episode, for statistics."""
        slot = self.steps()[1][:limit]
        found: NDArray[Any] = self.slots.columns[OBSERVATION + path][slot]
        return found

    def behaviour(self) -> NDArray[np.float32]:
        """Return the probability of each recorded action, (N,); nan where it is not known."""
        found: NDArray[np.float32] = self.slots.columns[BEHAVIOUR][self.steps()[1]]
        return found
