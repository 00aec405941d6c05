"""Which sessions have their memory in which slot of a backend: a cache, from which the least recently used one is dropped."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seqel.errors import ConfigError

__all__ = ["Slot", "Slots"]


@dataclass(slots=True)
class Slot:
    """The memory of one session after its first `steps` steps."""

    index: int
    steps: int = 0
    last_action: tuple[int, ...] = ()
    opened: str = ""  # which of the sessions of that name
    shield: NDArray[np.float64] | None = None  # (K,) what the agent's shield knows of it
    digest: tuple[bytes, int] | None = None  # of its history for the audit log, and the first step that it covers


class Slots:
    """Assigns `size` slots to sessions."""

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ConfigError(f"slots: expected at least 1, got {size}")
        self.size = size
        self._held: OrderedDict[str, Slot] = OrderedDict()
        self._free = list(range(size - 1, -1, -1))

    def __len__(self) -> int:
        return len(self._held)

    def find(self, session: str) -> Slot | None:
        """Return the slot of a session, which counts as used now; None if its memory is not held."""
        slot = self._held.get(session)
        if slot is not None:
            self._held.move_to_end(session)
        return slot

    def take(self, session: str) -> Slot:
        """Return a slot for a session without one. The latest `size` - 1 that were found or taken keep theirs."""
        index = self._free.pop() if self._free else self._held.popitem(last=False)[1].index
        slot = self._held[session] = Slot(index)
        return slot

    def drop(self, session: str) -> None:
        """Free the slot of a session, if it has one."""
        slot = self._held.pop(session, None)
        if slot is not None:
            self._free.append(slot.index)
