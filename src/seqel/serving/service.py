"""The service without its transport: sessions, steps, rankings, and the agents that decide them."""

from __future__ import annotations

import asyncio
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from seqel.errors import SeqelError, StorageError
from seqel.monitoring.metrics import ServiceMetrics
from seqel.serving.batching import LONG, Moved
from seqel.serving.config import ServiceConfig
from seqel.serving.deadlines import Deadlines
from seqel.serving.errors import InvalidRequest, TimedOut, Unavailable
from seqel.serving.explaining import influence
from seqel.serving.served import Served
from seqel.serving.sessions.base import Ended, Held, SessionStore, Wanted
from seqel.serving.sessions.ended import ended, shown
from seqel.serving.steps import Step
from seqel.serving.values import read_number, read_text, read_whole
from seqel.serving.versions import Versions

__all__ = ["Service"]

NAME = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
EXPLAINED = 256  # latest steps whose influence is computed
SWEEP = 5.0  # seconds between two looks for expired sessions


class Service(Versions):
    """Serves agents with sessions. The first agent that is added is active: it decides new sessions."""

    def __init__(self, store: SessionStore, metrics: ServiceMetrics, config: ServiceConfig | None = None) -> None:
        self.store, self.config = store, config or ServiceConfig()
        super().__init__(self.config.on_swap, metrics)
        self.stopping = False
        self.idle = threading.Event()  # no batch has been begun since one was done
        self.idle.set()
        self._agent_of: OrderedDict[str, str] = OrderedDict()  # session -> version, as far as it is known here
        self._sweeper: asyncio.Task[None] | None = None
        self._deadlines = Deadlines(self.config.timeout, self._timed_out)

    # -- sessions ----------------------------------------------------------------------------------------------------------

    # Each session belongs to the owner of the key that opened it; others do not find it.

    async def create(self, session: str | None = None, agent: str = "", owner: str = "") -> dict[str, Any]:
        """Open a session, in place of one of the same name and owner.

        Raises InvalidRequest if its name is not a short plain text; NotFound for an unknown agent.
        """
        self._require_running()
        served = self.agent(agent)
        name = secrets.token_urlsafe(16) if session is None else session
        if not NAME.fullmatch(name):
            raise InvalidRequest(f"session: expected 1 to 128 of A-Z a-z 0-9 . _ : @ -, got {name!r:.140}")
        evicted = await self._stored(self.store.create(f"{owner}/{name}", served.version))
        self._note(f"{owner}/{name}", served.version)
        self.metrics.sessions_created()
        for _ in evicted:
            self.metrics.sessions_closed("evicted")
        return {"session": name, "agent": served.version, "step": 0, "time_to_live": self.config.time_to_live}

    async def act(self, session: str, request: Mapping[str, Any], owner: str = "") -> bytes:
        """Take one step of a session and return the answer as JSON.

        request: "observation"; and optionally "reward" of the last action, "step", the number of this step (so that a
        repeated request gets the same answer), "previous_action" if something else acted, "mask" or "candidates".
        """
        self._require_running()
        name, session = session, f"{owner}/{session}"
        for _ in range(3):
            version = self._agent_of.get(session, self.active)
            if version not in self.agents or self.config.on_swap == "rebuild":
                version = self.active
            served = self.agent(version)
            step = await self._step(served, request)
            step.session, step.number = session, read_whole("step", request.get("step"))

            def respond(
                number: int, action: NDArray[np.int64], scores: NDArray[np.float32], by: Served = served
            ) -> bytes:
                return orjson.dumps({"session": name} | by.decision(number, action, scores))

            step.respond = respond
            try:
                answer = await self._decide(served, step)
            except Moved as moved:
                self._note(session, moved.agent if moved.agent in self.agents else self.active)
                continue
            self._note(session, version)
            return answer
        raise Unavailable(f"session {name!r}: its agent changes at the moment")

    async def act_once(self, request: Mapping[str, Any]) -> bytes:
        """Decide without a session: the request brings the "history", a list of earlier steps, the oldest first.

        Each has "observation", "action", and "reward", that of the action; "agent" chooses a version.
        """
        self._require_running()
        served = self.agent(read_text("agent", request.get("agent")) or "")
        history = request.get("history")
        history = [] if history is None else history
        if not isinstance(history, list) or len(history) > self.config.history:
            size = len(history) if isinstance(history, list) else type(history).__name__
            raise InvalidRequest(f"history: expected a list of at most {self.config.history} steps, got {size}")
        step = await self._step(served, request)
        step.history, step.number = await served.read_history(history), len(history)
        step.reward = read_number("reward", request.get("reward"))
        if history and request.get("reward") is None:
            step.reward = read_number("reward", history[-1].get("reward"))
        step.respond = lambda number, action, scores: orjson.dumps(served.decision(number, action, scores))
        return await self._decide(served, step)

    async def act_many(self, requests: Any, owner: str = "") -> list[bytes | SeqelError]:
        """Take one step in each of several sessions ("session" in each request), computed together where possible."""
        if not isinstance(requests, list) or not 0 < len(requests) <= self.config.requests:
            raise InvalidRequest(f"requests: expected a list of 1 to {self.config.requests} steps")

        async def one(request: Any) -> bytes | SeqelError:
            try:
                if not isinstance(request, dict):
                    raise InvalidRequest(f"requests: expected objects, got {type(request).__name__}")
                name = read_text("session", request.get("session"))
                return await (self.act_once(request) if name is None else self.act(name, request, owner))
            except SeqelError as error:
                return error

        return list(await asyncio.gather(*map(one, requests)))

    async def feedback(self, session: str, step: Any, reward: Any, owner: str = "") -> dict[str, Any]:
        """Set the reward of step `step`, the last one of a session: the agent reads it at the next step."""
        earned, number, key = read_number("reward", reward), read_whole("step", step), f"{owner}/{session}"
        (held,) = await self._stored(self.store.read([Wanted(key, 1 << 60)]))
        if isinstance(held, Ended):
            raise ended(key, held)
        if number is None or number >= held.steps:
            raise InvalidRequest(
                f"step: expected a step that the session has taken (it has {held.steps}), got {step!r:.40}"
            )
        read = await self._stored(self.store.reward(key, number, earned))
        self.metrics.feedback(earned)
        return {"session": session, "step": number, "reward": earned, "will_be_read": read}

    async def timeline(self, session: str, owner: str = "") -> dict[str, Any]:
        """Return the latest steps of a session: observations, actions and rewards."""
        session = f"{owner}/{session}"
        (held,) = await self._stored(self.store.read([Wanted(session)]))
        return self._timeline(session, held)

    async def influence(self, session: str, owner: str = "") -> dict[str, Any]:
        """Return how much the last decision of a session changes if each earlier step is hidden (occlusion)."""
        key = f"{owner}/{session}"
        (held,) = await self._stored(self.store.read([Wanted(key)]))
        if isinstance(held, Ended):
            raise ended(key, held)
        served = self.agents.get(held.agent) or self.agent()
        if served.agent is None:
            raise InvalidRequest(f"agent {served.version!r} is an exported file: explanations need the agent itself")
        if not held.steps:
            raise InvalidRequest("expected a session that has taken a step, got one without")
        records = served.batcher.format.join(held.records[-EXPLAINED:])
        first = held.steps - len(records)
        found = await asyncio.to_thread(influence, served.agent, served.batcher.format, records, first)
        steps = [{"step": first + row, "change": change} for row, change in enumerate(found)]
        return {"session": session, "step": held.steps - 1, "influence": steps}

    async def close(self, session: str, owner: str = "") -> dict[str, Any]:
        """Close a session and return its timeline."""
        session = f"{owner}/{session}"
        held = await self._stored(self.store.close(session))
        self._agent_of.pop(session, None)
        found = self._timeline(session, held)
        self.metrics.sessions_closed("closed")
        return found

    def rank(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Rank the items of the active agent's catalogue for a history (`Agent.rank`). Use a thread: it takes time."""
        served = self.agent(read_text("agent", request.get("agent")) or "")
        if served.agent is None:
            raise InvalidRequest(f"agent {served.version!r} is an exported file: ranking needs the agent itself")
        k = read_whole("k", request.get("k", 20))
        history, candidates = request.get("history", []), request.get("candidates")
        if not isinstance(history, list) or len(history) > self.config.history or k is None or k > 10_000:
            raise InvalidRequest(f"expected a history of at most {self.config.history} items, and k of at most 10000")
        try:
            items, scores = served.agent.rank(
                history, k, rewards=request.get("rewards"), exclude_seen=bool(request.get("exclude_seen", True)),
                candidates=candidates,
            )  # fmt: skip
        except (SeqelError, ValueError, TypeError, LookupError, OverflowError) as error:
            raise InvalidRequest(f"rank: {' '.join(str(error).split())[:500]}") from error
        return {"agent": served.version, "items": list(items), "scores": [float(score) for score in scores]}

    # -- running -----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to look for expired sessions; needs a running event loop."""
        self._sweeper = asyncio.create_task(self._sweep(), name="expired sessions")

    async def stop(self) -> None:
        """Answer what waits, take nothing new, and stop."""
        self.stopping = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        await asyncio.gather(*(served.batcher.stop() for served in self.agents.values()))
        await self.store.stop()

    async def sessions(self) -> int:
        """Return how many sessions are open. Raises Unavailable if the store cannot be reached."""
        return int(await self._stored(self.store.count()))

    @property
    def waiting(self) -> int:
        """How many steps wait."""
        return sum(len(served.batcher) for served in self.agents.values())

    def limit(self) -> int:
        """Return how many requests may be open: the steps that may wait for an agent, and one batch that is computed."""
        found = 0
        for one in self.agents.values():  # asked for each request, so without a generator
            found = max(found, one.batcher.limit + one.batcher.most)
        return found or self.config.queue

    def room(self) -> int:
        """Return how many requests may be in work: `LONG` batches that wait, and two that are computed."""
        return max((LONG + 2) * one.batcher.most for one in self.agents.values()) if self.agents else 1

    def wait(self) -> float:
        """Return the seconds that as many steps take as may wait."""
        return max((one.batcher.full_wait for one in self.agents.values()), default=0.0)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            try:
                for session in await self.store.expire():
                    self._agent_of.pop(session, None)
                    self.metrics.sessions_closed("expired")
            except StorageError:  # it is looked for again
                continue

    # -- parts -------------------------------------------------------------------------------------------------------------

    def _require_running(self) -> None:
        if self.stopping:
            raise Unavailable("the service is stopping")

    async def _step(self, served: Served, request: Mapping[str, Any]) -> Step:
        observation = request.get("observation")
        flat = await served.read(observation)
        taken = request.get("previous_action")
        return Step(
            served.batcher.format.of(flat),
            observation,
            served.mask(request.get("mask"), request.get("candidates"), observation),
            respond=lambda number, action, scores: b"",
            reward=None if request.get("reward") is None else read_number("reward", request["reward"]),
            previous_action=None if taken is None else served.action(taken),
        )

    def _timeline(self, session: str, held: Held | Ended) -> dict[str, Any]:
        if isinstance(held, Ended):
            raise ended(session, held)
        served = self.agents.get(held.agent) or self.agent()
        records = served.batcher.format.join(held.records)
        observed = served.batcher.format.observation(records)
        rewards = [*records["previous_reward"][1:].tolist(), held.reward] if len(records) else []
        steps = [
            {
                "step": held.steps - len(records) + row,
                "time": float(records["time"][row]),
                "observation": {path: leaf[row].tolist() for path, leaf in observed.items()},
                "action": served.names(records["action"][row].tolist()),
                "reward": rewards[row],
            }
            for row in range(len(records))
        ]
        return {"session": shown(session), "agent": held.agent, "steps": held.steps, "history": steps}

    def _note(self, session: str, version: str) -> None:
        self._agent_of[session] = version
        self._agent_of.move_to_end(session)
        while len(self._agent_of) > 2 * self.config.sessions:
            self._agent_of.popitem(last=False)

    async def _decide(self, served: Served, step: Step) -> bytes:
        future = served.batcher.submit(step)
        self._deadlines.watch(future)
        return await future

    def _timed_out(self) -> TimedOut:
        return TimedOut(f"no answer within {self.config.timeout:g} s; ask again with the same step number")

    async def _stored(self, work: Any) -> Any:
        try:
            return await work
        except StorageError as error:
            raise Unavailable(str(error)) from error
