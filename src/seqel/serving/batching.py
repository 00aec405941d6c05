"""Micro-batching: the steps of many sessions that wait at the same time are computed together.

While one batch is computed in a thread, requests gather; the next batch begins as soon as it is done, without waiting for
more. A session's row joins whatever batch comes next (continuous batching), so no session waits for another one's end. Two
steps of one session never share a batch.

For each batch: read the sessions from the store; rebuild the memory of those whose memory is not held or is behind, by one
prefill; compute one step; add it to the store; and only then answer. So what a client has been told is stored.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seqel.errors import StorageError
from seqel.serving.backends.base import Backend, History, Inputs
from seqel.serving.errors import Conflict, Gone, NotFound, Overloaded, RequestError, Unavailable
from seqel.serving.records import StepFormat
from seqel.serving.sessions.base import Ended, Held, NewStep, SessionStore, Wanted
from seqel.serving.slots import Slot, Slots

__all__ = ["Batcher", "Moved", "Observer", "Step", "ended", "shown"]

CATCH_UP = 8  # steps that other replicas took, at most, that are read one by one and not by a new prefill
TRIES = 5  # of a step, while other replicas add steps to the same session


class Observer(Protocol):
    """What is told of every batch, for metrics."""

    def batch(self, rows: int, seconds: float) -> None:
        """Count a batch of rows."""
        ...

    def prefill(self, rows: int, seconds: float) -> None:
        """Count memories that were rebuilt."""
        ...

    def decided(
        self,
        agent: str,
        sessions: Sequence[str],
        steps: Sequence[int],
        records: NDArray[np.void],
        scores: NDArray[np.float32],
    ) -> None:
        """See R decisions: records (R,), scores (R, M, A)."""
        ...


@dataclass(slots=True)
class Step:
    """One step that waits. Its session is in the store, or, without one, `history` is all that is known."""

    record: NDArray[np.void]  # (1,) with the observation
    mask: NDArray[np.bool_]  # (M, A)
    respond: Callable[
        [int, NDArray[np.int64], NDArray[np.float32]], bytes
    ]  # number, action (M,), scores (M, A) -> answer
    session: str | None = None
    number: int | None = None  # that the client expects the step to have; without a session, the steps before it
    reward: float | None = None  # of the last action; None: as it was reported
    previous_action: tuple[int, ...] | None = None  # (M,) if something else acted; counted from 0
    history: NDArray[np.void] | None = None  # (T,) the latest steps, of a step without a session
    future: asyncio.Future[bytes] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    tries: int = 0


class Moved(Exception):
    """The session is decided by another agent: `agent`."""

    def __init__(self, agent: str) -> None:
        super().__init__(agent)
        self.agent = agent


class Batcher:
    """Computes the steps of one agent's sessions.

    agent: the name of its version. most: rows per batch. queue: steps that may wait. adopt: whether it also takes the
    sessions of another agent, which this one then decides; otherwise it refuses them with `Moved`.
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
        adopt: Callable[[str], bool] = lambda agent: True,
    ) -> None:
        self.agent, self.backend, self.store, self.observer, self.adopt = agent, backend, store, observer, adopt
        self.format = StepFormat(backend.observation_spec, backend.action_spec)
        self.most, self.queue = min(most, backend.slots), queue
        self.slots = Slots(backend.slots)
        self.pause = 0.0  # seconds that a batch took lately
        self._waiting: deque[Step] = deque()
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"seqel-{agent}")
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def __len__(self) -> int:
        return len(self._waiting)

    async def decide(self, step: Step) -> bytes:
        """Return the answer to a step once it is computed and stored.

        Raises a RequestError: too many steps wait; the session is unknown, has ended, or is at another step. Moved: see
        `adopt`.
        """
        if self._stopping:
            raise Unavailable("the service is stopping")
        if len(self._waiting) >= self.queue:
            raise Overloaded(
                f"{len(self._waiting)} steps wait already", retry_after=max(1.0, self.pause * self.queue / self.most)
            )
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"batches of {self.agent}")
        self._waiting.append(step)
        self._wake.set()
        return await step.future

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
            self.pause = 0.9 * self.pause + 0.1 * (time.perf_counter() - began)

    def _next(self) -> list[Step]:
        """Take the steps that waited longest, at most one per session, without those that no one waits for any more."""
        batch: list[Step] = []
        sessions, later = set(), []
        while self._waiting and len(batch) < self.most:
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
        records, scores = await loop.run_in_executor(self._thread, self._compute, ready)
        actions = records["action"]
        answers = [one.step.respond(one.steps, actions[row], scores[row]) for row, one in enumerate(ready)]
        new = [
            NewStep(
                one.step.session,
                one.steps,
                records[row : row + 1].tobytes(),
                answers[row],
                self.agent,
                self.backend.keep,
            )
            for row, one in enumerate(ready)
            if one.step.session is not None
        ]
        added = iter(await self.store.append(new) if new else [])
        for one, answer in zip(ready, answers, strict=True):
            if one.step.session is None or next(added):
                self._answer(one.step, answer)
            else:  # another replica was faster, or the session has just ended
                self.slots.drop(one.step.session)
                self._again(one.step)
        sessions = [shown(one.step.session) for one in ready]
        self.observer.decided(self.agent, sessions, [one.steps for one in ready], records, scores)

    async def _read(self, batch: Sequence[Step]) -> list[_Ready]:
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
                ready.append(_Ready(step, before, step.history, step.reward or 0.0))
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
                ready.append(_Ready(step, held.steps, self.format.join(held.records), reward, held.opened))
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

    # -- in the thread ---------------------------------------------------------------------------------------------------

    def _compute(self, ready: Sequence[_Ready]) -> tuple[NDArray[np.void], NDArray[np.float32]]:
        """Take one step of each row. -> records (R,), scores (R, M, A)."""
        began = time.perf_counter()
        try:
            self._prepare(ready)
            records = np.concatenate([one.step.record for one in ready])
            for row, one in enumerate(ready):
                records["previous_reward"][row] = one.reward
                if one.steps:
                    taken = one.step.previous_action
                    records["previous_action"][row] = one.slot.last_action if taken is None else taken
            inputs = self._inputs(records, np.stack([one.step.mask for one in ready]), [one.steps for one in ready])
            scores = self.backend.step(_indices(ready), inputs)
        except BaseException:
            for one in ready:  # their memory may be half changed
                self.slots.drop(one.name)
            raise
        records["action"] = scores.argmax(axis=-1)
        records["time"] = time.time()
        for row, one in enumerate(ready):
            one.slot.steps, one.slot.opened = one.steps + 1, one.opened
            one.slot.last_action = tuple(records["action"][row].tolist())
            if one.step.session is None:
                self.slots.drop(one.name)
        self.observer.batch(len(ready), time.perf_counter() - began)
        return records, scores

    def _prepare(self, ready: Sequence[_Ready]) -> None:
        """Give each row a slot, with the memory of all its steps so far."""
        filled, behind = [], []
        for row, one in enumerate(ready):
            one.name = one.step.session or f"\0{row}"  # sessions of clients have no such names
            slot = self.slots.find(one.name)
            if slot is not None:
                behind += [one] if len(one.records) else []
            else:
                slot = self.slots.take(one.name)
                filled += [one] if len(one.records) else []
            one.slot = slot
            if len(one.records):
                slot.last_action = tuple(one.records["action"][-1].tolist())
        if filled:
            self._fill(filled)
        for step in range(max((len(one.records) for one in behind), default=0)):
            self._catch_up([one for one in behind if step < len(one.records)], step)

    def _fill(self, rows: Sequence[_Ready]) -> None:
        """Rebuild the memory of sessions by one prefill."""
        began = time.perf_counter()
        histories = [
            History(
                self.format.observation(one.records),
                one.records["previous_action"].copy(),
                one.records["previous_reward"].copy(),
                one.steps - len(one.records),
            )
            for one in rows
        ]
        self.backend.fill(_indices(rows), histories)
        self.observer.prefill(len(rows), time.perf_counter() - began)

    def _catch_up(self, rows: Sequence[_Ready], step: int) -> None:
        """Read a step that another replica took, in memory that lacks only a few."""
        records = np.concatenate([one.records[step : step + 1] for one in rows])
        every = np.repeat(self.backend.action_spec.available[None], len(rows), axis=0)
        numbers = [one.steps - len(one.records) + step for one in rows]
        self.backend.step(_indices(rows), self._inputs(records, every, numbers))

    def _inputs(self, records: NDArray[np.void], mask: NDArray[np.bool_], steps: Sequence[int]) -> Inputs:
        return Inputs(
            self.format.observation(records),
            records["previous_action"].copy(),
            records["previous_reward"].copy(),
            np.array([number == 0 for number in steps]),
            mask,
        )


def _continues(slot: Slot, held: Held) -> bool:
    """Return whether a slot has the memory of this session, but for a few steps that were read with it."""
    missing = held.steps - slot.steps
    return slot.opened == held.opened and 0 <= missing <= CATCH_UP and len(held.records) == missing


def _indices(rows: Sequence[_Ready]) -> NDArray[np.int64]:
    return np.array([one.slot.index for one in rows], np.int64)


@dataclass(slots=True)
class _Ready:
    """A step that can be computed: the number of steps before it, and those records that its memory lacks."""

    step: Step
    steps: int
    records: NDArray[np.void]
    reward: float
    opened: str = ""
    name: str = ""
    slot: Slot = field(default_factory=lambda: Slot(-1))  # given before it is used


def shown(session: str | None) -> str:
    """Return a session's name as its client knows it, without its owner."""
    return (session or "").partition("/")[2]


def ended(session: str, found: Ended) -> RequestError:
    """Return the error that says why there is no such session."""
    session = shown(session)
    if not found.reason:
        return NotFound(f"no session {session!r}: open one first, with POST /v1/sessions")
    more = {
        "expired": "it had no step for longer than the time to live",
        "evicted": "the service held its largest number of sessions, and this one was idle longest",
    }.get(found.reason, "")
    return Gone(
        f"session {session!r} was {found.reason}" if not more else f"session {session!r} {_verb(found)}: {more}"
    )


def _verb(found: Ended) -> str:
    return "has expired" if found.reason == "expired" else f"was {found.reason}"
