"""The memory of an agent as a value: what `Agent.act` returns and takes back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqel.networks.trunks.base import State

__all__ = ["AgentState"]


@dataclass(slots=True)
class AgentState:
    """The memory of an agent, one row per environment: the trunk's memory and the last action. Consumed by `act`.

    Only the trunk's memory is on the agent's device: the rest is compared and checked at every step, on the CPU.
    """

    memory: State
    last_action: NDArray[np.int64]  # (N, M)
    fresh: NDArray[np.bool_]  # (N,) no observation yet
    shield: NDArray[np.float64] | None = None  # (N, K) what the agent's shield knows of each history

    def __len__(self) -> int:
        return len(self.fresh)
