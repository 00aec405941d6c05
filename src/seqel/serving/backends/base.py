"""What computes decisions: an agent with a memory of many slots, one per session that is held at the moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seqel.agents.info import AgentInfo
from seqel.spaces import ActionSpec, FlatObservation, ObservationSpec

__all__ = ["Backend", "History", "Inputs"]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What R rows read at one step. Actions count from 0."""

    observation: FlatObservation  # leaves (R, *shape)
    previous_action: NDArray[np.int64]  # (R, M)
    previous_reward: NDArray[np.float32]  # (R,)
    first: NDArray[np.bool_]  # (R,) the session's first step
    mask: NDArray[np.bool_]  # (R, M, A) allowed actions


@dataclass(frozen=True, slots=True)
class History:
    """The latest T steps of one session, as they were read."""

    observation: FlatObservation  # leaves (T, *shape)
    previous_action: NDArray[np.int64]  # (T, M)
    previous_reward: NDArray[np.float32]  # (T,)
    start: int  # number of the first of them in the session

    def __len__(self) -> int:
        return len(self.previous_reward)


class Backend(Protocol):
    """An agent and its memory. One caller at a time."""

    observation_spec: ObservationSpec
    action_spec: ActionSpec
    info: AgentInfo
    name: str  # of the library that computes
    keep: int  # latest steps that decide its memory exactly; 0: all
    slots: int

    @property
    def bytes_per_slot(self) -> int:
        """The memory of one session."""
        ...

    def step(self, slots: NDArray[np.int64], inputs: Inputs) -> NDArray[np.float32]:
        """Read one step in each of R distinct slots and return the scores of every action, (R, M, A)."""
        ...

    def fill(self, slots: NDArray[np.int64], histories: Sequence[History]) -> None:
        """Rebuild the memory of R slots from histories, each of at least one step."""
        ...
