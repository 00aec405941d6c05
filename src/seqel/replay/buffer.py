"""Sequence replay: stores whole episodes in a flat ring and samples windows, uniformly over steps or by priority.

Design: next observations are stored once (T + 1 slots per episode); the oldest whole episodes are evicted to make room; a
batch takes one integer draw, one binary search and one gather per column, never a Python loop over windows or steps.
Not thread-safe.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seqel.errors import CheckpointError, ConfigError, DataError
from seqel.replay.gathering import sample_windows
from seqel.replay.layout import OBSERVATION, Layout
from seqel.replay.ring import EpisodeTable, Ring
from seqel.replay.windows import Priorities

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from seqel.types import Episode, SequenceBatch

__all__ = ["Replay"]


class Replay:
    """A replay of episodes from which batches of windows are sampled.

    leaves: observation leaf -> (shape, dtype), stored in that dtype. capacity: number of slots; an episode of T
    transitions takes T + 1. actions: A, each of the action_dims = M actions is in 0 ... A - 1. masked: whether
    episodes have an action_mask. costs: whether steps have costs. priority_exponent: alpha of prioritised sampling; 0 samples
    every step alike. With priorities, `context` is the burn-in of every window. directory: keep the steps in scratch
    files there instead of in memory.

    Raises ConfigError if the capacity is below 2, StorageError if the disk has no room.
    """

    def __init__(
        self,
        leaves: dict[str, tuple[tuple[int, ...], np.dtype[Any]]],
        capacity: int,
        *,
        actions: int,
        action_dims: int = 1,
        masked: bool = False,
        costs: bool = False,
        priority_exponent: float = 0.0,
        context: int = 0,
        directory: Path | None = None,
    ) -> None:
        if capacity < 2:
            raise ConfigError(f"expected a capacity of at least 2 slots (one transition), got {capacity}")
        self.layout = Layout(dict(leaves), actions, action_dims, masked, costs=costs)
        self._slots = Ring(self.layout.columns(), capacity, directory)
        self._table = EpisodeTable(action_dims)
        self._priorities = Priorities(capacity, priority_exponent, context) if priority_exponent else None

    def __len__(self) -> int:
        """Return the number of stored transitions."""
        return self._slots.used - len(self._table)

    def __repr__(self) -> str:
        return (
            f"Replay({len(self)} transitions of {self.episodes} episodes, {self._slots.used} of {self.capacity} "
            f"slots, {self.nbytes / 1e6:.1f} MB)"
        )

    @property
    def episodes(self) -> int:
        """The number of stored episodes (or segments)."""
        return len(self._table)

    def whole(self, window: int) -> bool:
        """Return whether everything stored is a whole episode of at most `window` transitions."""
        numbers = self._table.numbers
        return bool((numbers[:, EpisodeTable.LENGTH] <= window).all() and (numbers[:, EpisodeTable.START] == 0).all())

    @property
    def capacity(self) -> int:
        """The total number of slots."""
        return self._slots.capacity

    @property
    def nbytes(self) -> int:
        """The size of the preallocated arrays in bytes, in memory (committed when first written) or in files."""
        extra = 0 if self._priorities is None else self._priorities.nbytes
        return self._slots.nbytes + self._table.nbytes + extra

    def add(self, episode: Episode) -> int:
        """Store one episode or segment, evict the oldest ones as needed, and return its serial number.

        Raises DataError, and changes nothing, if it does not fit: wrong shapes or dtypes, values that are not finite (in
        the stored dtype), actions out of range, or more steps than the capacity.
        """
        slots, table = self._slots, self._table
        steps = len(episode.reward)
        if steps + 1 > slots.capacity:
            raise DataError(
                f"expected an episode that fits {slots.capacity} slots (transitions + 1), got {steps} transitions: "
                f"increase the capacity to at least {steps + 1}, or add the episode as shorter segments"
            )
        columns = self.layout.columns_of(episode)
        action, reward = self.layout.before(episode)
        while slots.used + steps + 1 > slots.capacity:
            if self._priorities is not None:
                self._priorities.removed(int(table.numbers[0, table.SLOT]), int(table.numbers[0, table.LENGTH]))
            slots.used -= table.evict() + 1
        slot = slots.write(columns)
        facts = (slot, steps, int(episode.start_step), int(episode.terminated))
        table.append(np.concatenate([np.array(facts, np.int64), action]), reward)
        serial = table.evicted + len(table) - 1
        if self._priorities is not None:
            self._priorities.added(slot, columns["by_agent"], int(episode.start_step), serial)
        return serial

    def update_priorities(self, batch: SequenceBatch, error: NDArray[np.floating]) -> None:
        """Set the priorities of the batch's trained steps to the size of their errors, (B, T) in return scales.

        Call it before `add`, because the batch's slots must still hold its steps. Without priorities it does nothing.

        Raises DataError if an error is not finite.
        """
        if self._priorities is not None and batch.storage_index is not None:
            learn = batch.loss_mask.cpu().numpy()
            self._priorities.update(batch.storage_index.cpu().numpy()[learn], error[learn])

    def observations(self, path: str) -> NDArray[Any]:
        """Return a copy of all stored observations of one leaf, oldest first, for statistics.  (N, *shape)."""
        return self._slots.live(OBSERVATION + path)[OBSERVATION + path]

    def sample(
        self,
        batch: int,
        *,
        window: int,
        context: int,
        discount: float,
        rng: np.random.Generator,
        pad_to: int | None = None,
        pack: bool = False,
        importance_exponent: float = 1.0,
    ) -> SequenceBatch:
        """Sample B = `batch` windows of at most `window` transitions, with replacement, every step about equally often.

        A window that starts inside an episode has `context` steps of burn-in without loss. `discount` is gamma.
        T is the longest window of the batch, or `pad_to`. With `pack` several whole episodes share a row, so there are
        fewer rows than windows and less padding; `episode_index` is then that of a row's first window.
        Padding repeats the last observation (and mask); its action, reward and discount are 0, its q_acted nan, its
        valid and loss_mask False. `seqel.replay.ring.window_units` documents how windows are chosen, and how uniformly.
        With priorities, `weight` corrects for them to the power of `importance_exponent` (beta): 0 not at all, 1 fully.

        Raises DataError if the stored episodes hold nothing to train on, ConfigError if an argument is out of range.
        """
        return sample_windows(
            self.layout, self._slots, self._table, self._priorities, batch,
            window=window, context=context, discount=discount, rng=rng, pad_to=pad_to, pack=pack,
            importance_exponent=importance_exponent,
        )  # fmt: skip

    def state_dict(self) -> dict[str, NDArray[Any] | int]:
        """Return a copy of the stored episodes as a flat dict of arrays and integers, without the unused capacity."""
        state: dict[str, NDArray[Any] | int] = {
            "capacity": self.capacity,
            "actions": self.layout.actions,
            "evicted": self._table.evicted,
            "episodes": self._table.numbers.copy(),
            "previous_reward": self._table.previous_reward.copy(),
        }
        if self._priorities is not None:
            first = (self._slots.next - self._slots.used) % self.capacity
            state["priorities"] = self._priorities.state(first, self._slots.used)
        return state | {f"step/{name}": column for name, column in self._slots.live().items()}

    def load_state_dict(self, state: Mapping[str, NDArray[Any] | int]) -> None:
        """Restore `state`: the same draws then give the same batches; with the same capacity, `add` evicts the same episodes.

        The capacity may differ, for instance if a run is extended. Raises CheckpointError, and changes nothing, if
        `state` belongs to another kind of replay, holds more than fits, or is damaged.
        """
        columns = self._slots.columns
        wanted = {"capacity", "actions", "evicted", "episodes", "previous_reward"}
        wanted |= {f"step/{name}" for name in columns} | ({"priorities"} if self._priorities is not None else set())
        if set(state) != wanted:
            raise CheckpointError(f"expected a replay state with {sorted(wanted)}, got {sorted(state)}")
        if int(state["actions"]) != self.layout.actions:
            raise CheckpointError(
                f"expected a replay state of actions {self.layout.actions}, got {int(state['actions'])}"
            )
        numbers = np.array(state["episodes"], np.int64)
        previous_reward = np.asarray(state["previous_reward"], np.float32)
        width = EpisodeTable.PREVIOUS_ACTION + self.layout.action_dims
        if numbers.ndim != 2 or numbers.shape[1] != width or previous_reward.shape != (len(numbers),):
            raise CheckpointError(
                f"expected an episode table (N, {width}) and previous_reward (N,), got {numbers.shape} and "
                f"{previous_reward.shape}"
            )
        taken = numbers[:, EpisodeTable.LENGTH] + 1
        used = int(taken.sum())
        if used > self.capacity or (taken < 2).any():
            raise CheckpointError(f"expected episodes that take 2 to {self.capacity} slots in total, got {used}")
        values = {name: np.asarray(state[f"step/{name}"]) for name in columns}
        for name, value in values.items():
            column = columns[name]
            if value.shape != (used, *column.shape[1:]) or value.dtype != column.dtype:
                raise CheckpointError(
                    f"expected {name} of shape {(used, *column.shape[1:])} and {column.dtype}, got {value.shape} and "
                    f"{value.dtype}"
                )
        begin = int(numbers[0, EpisodeTable.SLOT]) if len(numbers) else 0
        room, offset = int(state["capacity"]), np.cumsum(taken) - taken
        if room < 2 or not 0 <= begin < room or (numbers[:, EpisodeTable.SLOT] != (begin + offset) % room).any():
            raise CheckpointError("expected episodes in contiguous slots, got gaps between them")
        if room != self.capacity:
            begin, numbers[:, EpisodeTable.SLOT] = 0, offset
        if self._priorities is not None:
            self._priorities.restore(np.asarray(state["priorities"], np.float64), numbers, int(state["evicted"]))
        self._slots.restore(values, begin)
        self._table = EpisodeTable.of(numbers, previous_reward, int(state["evicted"]))
