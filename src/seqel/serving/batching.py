"""Micro-batching: the steps of many sessions that wait at the same time are computed together.

While one batch is computed in a thread, requests gather; the next batch begins as soon as it is done, without waiting for
more. Where two batches wait, they are computed together. A session's row joins whatever batch comes next (continuous
batching), so no session waits for another one's end. Two steps of one session never share a batch.

For each batch: read the sessions from the store; rebuild the memory of those whose memory is not held or is behind, by one
prefill; compute one step; log it, if there is an audit log; add it to the store; and only then answer. Every answer that a
client has received is therefore stored, and logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from seqel.errors import StorageError
from seqel.safety.audit import AuditLog
from seqel.serving.auditing import decision_entries, withdrawn_entries
from seqel.serving.backends.base import Backend
from seqel.serving.computing import Computer, Observer
from seqel.serving.errors import Conflict, Overloaded, RequestError, Unavailable
from seqel.serving.sessions.base import Ended, Held, NewStep, SessionStore, Wanted
from seqel.serving.sessions.ended import ended, shown
from seqel.serving.slots import Slot
from seqel.serving.steps import Ready, Step

__all__ = ["LONG", "Batcher", "Moved"]

CATCH_UP = 8  # steps that other replicas took, at most, that are read one by one and not by a new prefill
LONG = 2  # batches that wait, so that two are computed together
TRIES = 5  # of a step, while other replicas add steps to the same session


class Moved(Exception):
    """The session is decided by another agent: `agent`."""

    def __init__(self, agent: str) -> None:
        super().__init__(agent)
        self.agent = agent


class Batcher:
    """Computes the steps of one agent's sessions.

    agent: the name of its version. most: rows per batch. queue: steps that may wait. wait: seconds that they may wait, by
    what batches took lately: if `queue` steps take longer, fewer may wait, but always one batch. adopt: whether it also takes
    the sessions of another agent, which this one then decides; otherwise it refuses them with `Moved`. idle: an event that is
    set when a batch is done and cleared when one begins. audit: every decision is in this log, on the disk,
    before it is stored and answered.
    """

    def __init__(
        self,
        agent: str,
        backend: Backend,
        store: SessionStore,
        observer: Observer,
        *,
        most: int = 64,
        queue: int = 1024,
        wait: float = math.inf,
        adopt: Callable[[str], bool] = lambda agent: True,
        idle: threading.Event | None = None,
        audit: AuditLog | None = None,
    ) -> None:
        self.agent, self.backend, self.store, self.observer, self.adopt = agent, backend, store, observer, adopt
        self.computer, self.audit = Computer(backend, observer, audit is not None), audit
        self.format, self.slots = self.computer.format, self.computer.slots
        self.most, self.queue, self.longest = min(most, backend.slots), queue, wait
        self.idle = idle or threading.Event()
        self.took(0.0)
        self._waiting: deque[Step] = deque()
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"seqel-{agent}", initializer=_give_way)
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def __len__(self) -> int:
        return len(self._waiting)

    def took(self, seconds: float) -> None:
        """Note what a batch of `most` rows takes now, and set `limit`, the number of steps that may wait."""
        self.pause, self.limit = seconds, self.queue
        if seconds * self.queue > self.longest * self.most:
            self.limit = max(min(self.queue, self.most), int(self.longest / seconds * self.most))

    @property
    def full_wait(self) -> float:
        """Seconds that `limit` steps take, by what batches took lately."""
        return self.pause * self.limit / self.most

    def submit(self, step: Step) -> asyncio.Future[bytes]:
        """Let a step wait for a batch. -> the future of its answer, which is there once the step is computed and stored.

        The future fails with a RequestError if the session is unknown, has ended, or is at another step, and with Moved:
        see `adopt`.

        Raises Unavailable while the batcher stops, and Overloaded if too many steps wait.
        """
        if self._stopping:
            raise Unavailable("the service is stopping")
        if len(self._waiting) >= self.limit:
            raise Overloaded(f"{len(self._waiting)} steps wait already", retry_after=max(1.0, self.full_wait))
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"batches of {self.agent}")
        self._waiting.append(step)
        self._wake.set()
        return step.future

    async def stop(self) -> None:
        """Compute what waits, and stop."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await self._task
        self._thread.shutdown()

    # -- one batch after another -----------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while self._waiting or not self._stopping:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            batch = self._next()
            began = time.perf_counter()
            try:
                await self._batch(batch)
            except RequestError as error:
                self._fail(batch, error)
            except StorageError as error:
                self._fail(batch, Unavailable(str(error)))
            except Exception as error:  # noqa: BLE001  (a fault of one batch must not end the service)
                self._fail(batch, error)
            taken = (time.perf_counter() - began) / max(1.0, len(batch) / self.most)
            self.took(0.9 * self.pause + 0.1 * taken)

    def _next(self) -> list[Step]:
        """Take the steps that waited longest, at most one per session, without those that no one waits for any more.

        While `LONG` batches wait, two are computed together: the answer comes later, but more are answered.
        """
        batch: list[Step] = []
        sessions, later = set(), []
        most = self.most
        if len(self._waiting) >= LONG * most:
            most = min(2 * most, self.backend.slots)
        while self._waiting and len(batch) < most:
            step = self._waiting.popleft()
            if step.future.done():
                continue
            if step.session is None or step.session not in sessions:
                batch.append(step)
                sessions.add(step.session)
            else:
                later.append(step)
        self._waiting.extendleft(reversed(later))
        return batch

    async def _batch(self, batch: Sequence[Step]) -> None:
        ready = await self._read(batch)
        if not ready:
            return
        loop = asyncio.get_running_loop()
        if self.computer.shield is not None:
            problems = await loop.run_in_executor(self._thread, self.computer.screen, ready)
            for one, problem in zip(ready, problems, strict=True):
                if problem is not None:
                    self._fail([one.step], problem)
            ready = [one for one, problem in zip(ready, problems, strict=True) if problem is None]
            if not ready:
                return
        self.idle.clear()
        records, scores = await loop.run_in_executor(self._thread, self._compute, ready)
        if self.audit is not None:
            entries = decision_entries(self.agent, ready, records, scores, self.backend.action_spec.sizes)
            await loop.run_in_executor(self._thread, self.audit.append, entries)
        actions = records["action"]
        answers = [one.step.respond(one.steps, actions[row], scores[row]) for row, one in enumerate(ready)]
        new = [
            NewStep(
                one.step.session,
                one.steps,
                records[row : row + 1].tobytes(),
                answers[row],
                self.agent,
                self.computer.keep,
            )
            for row, one in enumerate(ready)
            if one.step.session is not None
        ]
        stored = iter(await self.store.append(new) if new else [])
        added = [one.step.session is None or next(stored) for one in ready]
        if self.audit is not None and not all(added):
            refused = withdrawn_entries(self.agent, [one for one, kept in zip(ready, added, strict=True) if not kept])
            await loop.run_in_executor(self._thread, self.audit.append, refused)
        for one, answer, kept in zip(ready, answers, added, strict=True):
            if kept:
                self._answer(one.step, answer)
            elif one.step.session is not None:  # another replica was faster, or the session has just ended
                self.slots.drop(one.step.session)
                self._again(one.step)
        if all(added):
            self.observer.decided(self.agent, ready, records, scores)
        elif any(added):  # only what was answered is a decision
            given = [one for one, kept in zip(ready, added, strict=True) if kept]
            self.observer.decided(self.agent, given, records[added], scores[added])

    def _compute(self, ready: Sequence[Ready]) -> tuple[NDArray[np.void], NDArray[np.float32]]:
        try:
            return self.computer.compute(ready)
        finally:
            self.idle.set()

    async def _read(self, batch: Sequence[Step]) -> list[Ready]:
        """Read the sessions, and answer the steps that cannot be, or need not be, computed."""
        wanted, slots = [], []
        for step in batch:
            if step.session is not None:
                slot = self.slots.find(step.session)
                slots.append(slot)
                wanted.append(Wanted(step.session, 0 if slot is None else slot.steps))
        found = iter(zip(slots, await self.store.read(wanted) if wanted else [], strict=True))
        ready = []
        for step in batch:
            if step.session is None:
                assert step.history is not None
                before = len(step.history) if step.number is None else step.number
                ready.append(Ready(step, before, step.history, step.reward or 0.0))
                continue
            slot, held = next(found)
            try:
                self._check(step, held)
            except (RequestError, Moved) as error:
                self._fail([step], error)
                continue
            assert isinstance(held, Held)
            if step.number is not None and step.number == held.steps - 1:  # asked again: the same answer
                self._answer(step, held.answer)
            elif slot is not None and not _continues(slot, held):
                self.slots.drop(step.session)  # read all of it
                self._again(step)
            else:
                reward = held.reward if step.reward is None else step.reward
                ready.append(Ready(step, held.steps, self.format.join(held.records), reward, held.opened))
        return ready

    def _check(self, step: Step, held: Held | Ended) -> None:
        assert step.session is not None
        if isinstance(held, Ended):
            self.slots.drop(step.session)
            raise ended(step.session, held)
        if held.agent != self.agent and not self.adopt(held.agent):
            raise Moved(held.agent)
        if step.number is not None and step.number not in (held.steps, held.steps - 1):
            raise Conflict(f"session {shown(step.session)!r}: expected step {held.steps}, got step {step.number}")

    def _again(self, step: Step) -> None:
        step.tries += 1
        if step.tries >= TRIES:
            self._fail(
                [step], Conflict(f"session {shown(step.session)!r}: other requests add steps to it at the same time")
            )
        else:
            self._waiting.appendleft(step)

    @staticmethod
    def _answer(step: Step, answer: bytes) -> None:
        if not step.future.done():
            step.future.set_result(answer)

    @staticmethod
    def _fail(steps: Sequence[Step], error: BaseException) -> None:
        for step in steps:
            if not step.future.done():
                step.future.set_exception(error)


def _continues(slot: Slot, held: Held) -> bool:
    """Return whether a slot has the memory of this session, but for a few steps that were read with it."""
    missing = held.steps - slot.steps
    return slot.opened == held.opened and 0 <= missing <= CATCH_UP and len(held.records) == missing


def _give_way() -> None:
    """Lower the priority of this thread below that of the event loop, which has little to do but should do it at once."""
    with contextlib.suppress(OSError, AttributeError):  # not Linux, or not allowed
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
