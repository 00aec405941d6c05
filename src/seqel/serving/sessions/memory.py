"""Sessions in the memory of one process. They end with it; `sessions/redis.py` keeps them."""

from __future__ import annotations

import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence

from seqel.serving.sessions.base import (
    CLOSED,
    EVICTED,
    EXPIRED,
    REMEMBERED,
    Ended,
    Held,
    NewStep,
    Wanted,
    require_bounds,
)

__all__ = ["MemoryStore"]


class _Session:
    __slots__ = ("agent", "answer", "opened", "records", "reward", "steps", "touched")

    def __init__(self, agent: str, touched: float) -> None:
        self.agent, self.touched, self.opened = agent, touched, uuid.uuid4().hex
        self.steps, self.answer, self.reward = 0, b"", 0.0
        self.records: list[bytes] = []


class MemoryStore:
    """A `SessionStore` in memory.

    most: sessions at once, at least 1; the one that was idle longest is evicted for a new one.
    time_to_live: seconds after the last step.
    """

    def __init__(self, most: int, time_to_live: float, clock: Callable[[], float] = time.monotonic) -> None:
        require_bounds(most, time_to_live)
        self.most, self.time_to_live, self._clock = most, time_to_live, clock
        self._open: OrderedDict[str, _Session] = OrderedDict()  # the one that was idle longest first
        self._ended: OrderedDict[str, tuple[str, float]] = OrderedDict()  # reason and time, the oldest first

    async def create(self, session: str, agent: str) -> list[str]:
        self._open.pop(session, None)
        evicted = []
        while len(self._open) >= self.most:
            name, _ = self._open.popitem(last=False)
            self._end(name, EVICTED)
            evicted.append(name)
        self._ended.pop(session, None)
        self._open[session] = _Session(agent, self._clock())
        return evicted

    async def read(self, wanted: Sequence[Wanted]) -> list[Held | Ended]:
        found: list[Held | Ended] = []
        for one in wanted:
            session = self._open.get(one.session)
            if session is None or self._clock() - session.touched > self.time_to_live:
                if session is not None:
                    del self._open[one.session]
                    self._end(one.session, EXPIRED)
                found.append(Ended(self._ended.get(one.session, ("", 0.0))[0]))
                continue
            missing = session.steps - one.known
            records = session.records[-missing:] if missing > 0 else []
            found.append(Held(session.agent, session.opened, session.steps, records, session.answer, session.reward))
        return found

    async def append(self, steps: Sequence[NewStep]) -> list[bool]:
        added = []
        for step in steps:
            session = self._open.get(step.session)
            if session is None or session.steps != step.number:
                added.append(False)
                continue
            session.records.append(step.record)
            if step.keep and len(session.records) >= 2 * step.keep:  # so that trimming costs little per step
                del session.records[: -step.keep]
            session.steps, session.answer, session.agent = step.number + 1, step.answer, step.agent
            session.touched, session.reward = self._clock(), 0.0
            self._open.move_to_end(step.session)
            added.append(True)
        return added

    async def reward(self, session: str, number: int, reward: float) -> bool:
        found = self._open.get(session)
        if found is None or number != found.steps - 1:
            return False
        found.reward = reward
        return True

    async def close(self, session: str) -> Held | Ended:
        (found,) = await self.read([Wanted(session)])
        if isinstance(found, Held):
            del self._open[session]
            self._end(session, CLOSED)
        return found

    async def expire(self) -> list[str]:
        now, names = self._clock(), []
        for name, session in self._open.items():
            if now - session.touched <= self.time_to_live:
                break
            names.append(name)
        for name in names:
            del self._open[name]
            self._end(name, EXPIRED)
        while self._ended and now - next(iter(self._ended.values()))[1] > REMEMBERED:
            self._ended.popitem(last=False)
        return names

    async def count(self) -> int:
        return len(self._open)

    async def stop(self) -> None:
        pass

    def _end(self, session: str, reason: str) -> None:
        self._ended.pop(session, None)
        self._ended[session] = (reason, self._clock())
        while len(self._ended) > 10 * self.most:
            self._ended.popitem(last=False)
