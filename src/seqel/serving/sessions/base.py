"""The store of sessions: what every session saw, did and earned, its agent, and the answer to its last step.

A store decides the order of a session's steps: `append` adds a step only if its number is the next one, so of two
processes that serve the same session at once, one succeeds and the other reads again. Of each session, the latest `keep`
records are kept, which is as far as its agent can look back; all steps are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from seqel.errors import ConfigError

__all__ = ["Ended", "Held", "NewStep", "SessionStore", "Wanted", "require_bounds"]

CLOSED, EXPIRED, EVICTED = "closed", "expired", "evicted"  # why a session ended
REMEMBERED = 24 * 3600.0  # seconds for which the reason is remembered


def require_bounds(most: int, time_to_live: float) -> None:
    """Raise ConfigError unless a store may hold a session, for some time."""
    if most < 1 or time_to_live <= 0:
        raise ConfigError(f"sessions: expected at least 1 and a positive time to live, got {most} and {time_to_live} s")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A session to read, and how many of its steps the reader has already."""

    session: str
    known: int = 0


@dataclass(slots=True)
class Held:
    """A session as it is stored."""

    agent: str  # version that decides
    opened: str  # differs between sessions of the same name
    steps: int  # so far
    records: list[bytes] = field(
        default_factory=list
    )  # the latest, in order: those after `known`, or all that are kept
    answer: bytes = b""  # to the last step
    reward: float = 0.0  # of the last action, as far as it was reported


@dataclass(frozen=True, slots=True)
class Ended:
    """A session that is no longer open: `reason` is "closed", "expired" or "evicted", or "" if it was never opened."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class NewStep:
    """A step to add to a session."""

    session: str
    number: int  # of the step, from 0
    record: bytes
    answer: bytes  # that is given to the client, and given again if it asks again
    agent: str  # version that decided
    keep: int  # records to keep; 0: all


class SessionStore(Protocol):
    """What the service needs of a store. Sessions are named by texts.

    Every method raises StorageError if the store cannot be reached.
    """

    async def create(self, session: str, agent: str) -> list[str]:
        """Open a session, in place of one with the same name. -> the names of those that were evicted for it."""
        ...

    async def read(self, wanted: Sequence[Wanted]) -> list[Held | Ended]:
        """Return each session. If fewer steps are kept than are missing, all kept records are returned."""
        ...

    async def append(self, steps: Sequence[NewStep]) -> list[bool]:
        """Add one step to each of several sessions. -> whether it was the next one of a session that is open."""
        ...

    async def reward(self, session: str, number: int, reward: float) -> bool:
        """Set the reward of step `number`. -> whether it is the last step of a session that is open."""
        ...

    async def close(self, session: str) -> Held | Ended:
        """Close a session and return it with all that is kept of it."""
        ...

    async def expire(self) -> list[str]:
        """End the sessions without a step for longer than the time to live, and return their names."""
        ...

    async def count(self) -> int:
        """Return how many sessions are open."""
        ...

    async def stop(self) -> None:
        """Release connections. Sessions are kept where the store outlives the process."""
        ...
