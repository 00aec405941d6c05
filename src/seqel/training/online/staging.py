"""The steps of unfinished episodes, in preallocated arrays with one row per environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seqel.environments.vector import VectorStream
from seqel.types import SEEN_BEFORE, Episode, SequenceBatch

__all__ = ["ARRAYS", "Staging"]

ARRAYS = (
    "cursor",
    "start",
    "before_action",
    "before_reward",
    "cost",
    "action",
    "reward",
    "first_visit",
)  # of every run


class Staging:
    """Up to `room` transitions of each environment, and one observation more than transitions.

    masked, costs: whether action masks and costs are staged.
    """

    def __init__(self, stream: VectorStream, room: int, *, masked: bool, costs: bool) -> None:
        count, dims = stream.count, stream.action_spec.dims
        self.room, self.costs, self.unmasked = room, costs, stream.action_spec.unmasked
        self.cursor = np.zeros(count, np.int64)  # transitions staged
        self.start = np.zeros(count, np.int64)  # step number of the first staged observation
        self.before_action = np.zeros((count, dims), np.int64)  # the action before the first staged step
        self.before_reward = np.zeros(count, np.float32)
        storage = stream.spec.storage
        self.observation = {
            path: np.zeros((count, room + 1, *shape), dtype) for path, (shape, dtype) in storage.items()
        }
        self.action = np.zeros((count, room, dims), np.int64)
        self.reward = np.zeros((count, room), np.float32)
        self.first_visit = np.full((count, room), SEEN_BEFORE, np.int32)
        self.cost = np.zeros((count, room if costs else 0), np.float32)
        self.mask: NDArray[np.bool_] | None = None
        if masked:
            self.mask = np.repeat(stream.unmasked()[:, None], room + 1, axis=1)

    def begin(self, rows: NDArray[np.bool_], observation: Mapping[str, NDArray[Any]], mask: Any) -> None:
        """Forget what is staged in some rows, and stage the first observation of an episode. mask: None: all is allowed."""
        self.cursor[rows] = self.start[rows] = 0
        self.before_action[rows] = 0
        self.before_reward[rows] = 0.0
        for path, leaf in observation.items():
            self.observation[path][rows, 0] = leaf[rows]
        if self.mask is not None:
            self.mask[rows, 0] = self.unmasked if mask is None else mask[rows]

    def add(
        self,
        live: NDArray[np.int64],
        action: NDArray[np.int64],
        outcome: Any,
        first_visit: NDArray[np.int32] | None,
        cost: NDArray[np.float64] | None,
    ) -> None:
        """Stage a step of the rows `live`. action (N, M) of all rows; first_visit, cost: of the live ones; None: neither."""
        at = self.cursor[live]
        self.action[live, at] = action[live]
        self.reward[live, at] = outcome.reward[live]
        if first_visit is not None:
            self.first_visit[live, at] = first_visit
        for path, leaf in outcome.reached.items():
            self.observation[path][live, at + 1] = leaf[live]
        if self.mask is not None:
            self.mask[live, at + 1] = self.unmasked if outcome.mask is None else outcome.mask[live]
        if cost is not None:
            self.cost[live, at] = cost
        self.cursor[live] += 1

    def episode(self, row: int, terminated: bool, truncated: bool) -> Episode:
        """Return what is staged in a row. It refers to the arrays: use it before the next step."""
        steps, start = int(self.cursor[row]), int(self.start[row])
        return Episode(
            observation={path: leaf[row, : steps + 1] for path, leaf in self.observation.items()},
            action=self.action[row, :steps],
            reward=self.reward[row, :steps],
            terminated=terminated,
            truncated=truncated,
            start_step=start,
            previous_action=self.before_action[row] if start else None,
            previous_reward=float(self.before_reward[row]) if start else 0.0,
            action_mask=None if self.mask is None else self.mask[row, : steps + 1],
            first_visit=self.first_visit[row, :steps],
            cost=self.cost[row, :steps] if self.costs else None,
        )

    def keep_last(self, row: int, steps: int) -> None:
        """Drop all but the last `steps` transitions of a full row, which then begins later in its episode."""
        moved = self.room - steps
        self.before_action[row] = self.action[row, moved - 1]
        self.before_reward[row] = self.reward[row, moved - 1]
        for array in (*self.observation.values(), *(() if self.mask is None else (self.mask,))):
            array[row, : steps + 1] = array[row, moved:].copy()
        for flat in (self.action, self.reward, self.first_visit, *((self.cost,) if self.costs else ())):
            flat[row, :steps] = flat[row, moved:].copy()
        self.start[row] += moved
        self.cursor[row] = steps

    def batch(self, device: torch.device) -> SequenceBatch | None:
        """Return all staged steps as windows, to read them again; None if there is none."""
        steps = int(self.cursor.max())
        if steps == 0:
            return None
        tensors = {path: torch.from_numpy(leaf[:, :steps].copy()).to(device) for path, leaf in self.observation.items()}
        first = np.zeros((len(self.cursor), steps), bool)
        first[:, 0] = self.start == 0
        whole = torch.zeros(first.shape, device=device)
        return SequenceBatch(
            observation=tensors,
            action=torch.from_numpy(self.action[:, : steps - 1].copy()).to(device),
            reward=torch.from_numpy(self.reward[:, : steps - 1].copy()).to(device),
            discount=whole[:, 1:],
            is_first=torch.from_numpy(first).to(device),
            valid=whole[:, 1:] > 0,
            loss_mask=whole[:, 1:] > 0,
            start_step=torch.from_numpy(self.start.copy()).to(device),
            previous_action=torch.from_numpy(self.before_action.copy()).to(device),
            previous_reward=torch.from_numpy(self.before_reward.copy()).to(device),
        )

    def matches(
        self, row: int, taken: int, reward: float | None, current: Mapping[str, NDArray[Any]], mask: Any
    ) -> bool:
        """Return whether an environment that has taken `taken` steps again shows what is staged for that step."""
        at = taken - int(self.start[row])
        if at < 0:  # already handed over in an earlier segment
            return True
        if at > 0 and reward is not None and np.float32(reward) != self.reward[row, at - 1]:
            return False
        if self.mask is not None and mask is not None and not np.array_equal(mask[row], self.mask[row, at]):
            return False
        return all(leaf[row, at].tobytes() == current[path][row].tobytes() for path, leaf in self.observation.items())
