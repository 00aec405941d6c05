"""The steps of a session as bytes: what the agent read at each step, and what it decided.

A session is stored as these records and never as keys and values, so any process can rebuild its memory from them. All
records of an agent have the same size, and a history is one NumPy array that is read from them without a loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.errors import StorageError
from seqel.spaces import ActionSpec, FlatObservation, ObservationSpec

__all__ = ["StepFormat"]


class StepFormat:
    """The layout of one step of an agent with these spaces.

    Fields: previous_action (M,) int64, counted from 0, and previous_reward float32, as the agent read them; action (M,)
    int64, what it decided; time float64, in seconds since 1970; and one field per leaf of the observation, `o0`, `o1`, ...
    """

    def __init__(self, observation: ObservationSpec, action: ActionSpec) -> None:
        self.leaves = {path: f"o{number}" for number, path in enumerate(observation.storage)}
        fields: list[tuple[Any, ...]] = [
            ("previous_action", np.int64, (action.dims,)),
            ("previous_reward", np.float32),
            ("action", np.int64, (action.dims,)),
            ("time", np.float64),
        ]
        for path, (shape, dtype) in observation.storage.items():
            fields.append((self.leaves[path], dtype, shape))
        self.dtype = np.dtype(fields)

    def empty(self, steps: int) -> NDArray[np.void]:
        """Return records of zeros, (steps,)."""
        return np.zeros(steps, self.dtype)

    def of(self, observation: Mapping[str, NDArray[Any]]) -> NDArray[np.void]:
        """Return the record of one step, (1,), with its observation (leaves without a batch axis), the rest zero."""
        record = self.empty(1)
        for path, field in self.leaves.items():
            record[field][0] = observation[path]
        return record

    def join(self, records: Iterable[bytes]) -> NDArray[np.void]:
        """Return stored records as one array, (T,).

        Raises StorageError if they were stored for other spaces.
        """
        data = b"".join(records)
        if len(data) % self.dtype.itemsize:
            raise StorageError(
                f"session: expected records of {self.dtype.itemsize} bytes, got {len(data)} bytes: they were stored for an "
                "agent with other observations"
            )
        return np.frombuffer(data, self.dtype)

    def observation(self, records: NDArray[np.void]) -> FlatObservation:
        """Return the observations of records (T,): leaves (T, *shape)."""
        return FlatObservation((path, records[field].copy()) for path, field in self.leaves.items())
