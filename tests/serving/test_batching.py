"""Whatever is batched, dropped, rebuilt or shared between replicas, a session gets the decisions of one that was not."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqel.agents.agent import Agent
from seqel.deployment.export import export
from seqel.monitoring.metrics import ServiceMetrics
from seqel.serving.backends.base import Backend
from seqel.serving.backends.onnx_agent import OnnxBackend
from seqel.serving.backends.torch_agent import TorchBackend
from seqel.serving.batching import Batcher, Moved
from seqel.serving.errors import Conflict, Gone, NotFound, Overloaded, Unavailable
from seqel.serving.observing import Observing
from seqel.serving.records import StepFormat
from seqel.serving.sessions.base import SessionStore
from seqel.serving.sessions.memory import MemoryStore
from seqel.serving.sessions.redis import RedisStore
from seqel.serving.steps import Step
from support import network
from support_serving import RedisServer, expected, histories, read, step_of

SESSIONS, STEPS = 5, 24


@pytest.fixture(scope="module")
def gru() -> Agent:
    return Agent(network(trunk="gru"))


@pytest.fixture(scope="module")
def gru_file(gru: Agent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(gru, tmp_path_factory.mktemp("export") / "gru.onnx")


@pytest.fixture(params=["torch", "onnx", "onnx without torch", "gru", "gru, onnx", "gru, onnx without torch"])
def make(
    request: pytest.FixtureRequest, pair: Any, gru: Agent, gru_file: Path
) -> tuple[Agent, Callable[[int], Backend]]:
    """An agent, and a function that makes a backend of it with so many slots."""
    kinds: dict[str, tuple[Agent, Callable[[int], Backend]]] = {
        "torch": (pair.agent, lambda slots: TorchBackend(pair.agent, slots)),
        "onnx": (pair.agent, lambda slots: OnnxBackend(pair.file, slots, pair.agent)),
        "onnx without torch": (pair.agent, lambda slots: OnnxBackend(pair.file, slots)),
        "gru": (gru, lambda slots: TorchBackend(gru, slots)),
        "gru, onnx": (gru, lambda slots: OnnxBackend(gru_file, slots, gru)),
        "gru, onnx without torch": (gru, lambda slots: OnnxBackend(gru_file, slots)),
    }
    return kinds[request.param]


async def decide(batcher: Batcher, step: Step) -> bytes:
    return await batcher.submit(step)


def batcher_of(backend: Backend, store: SessionStore, **more: Any) -> Batcher:
    observer = Observing(ServiceMetrics(), StepFormat(backend.observation_spec, backend.action_spec))
    return Batcher(more.pop("agent", "a"), backend, store, observer, **more)


async def play(choose: Callable[[int, int], Batcher], store: SessionStore, seen: Any, rewards: Any) -> tuple[Any, Any]:
    """Play all sessions at once, each step by the batcher that is chosen. -> actions, scores."""
    actions, scores = np.zeros(seen.shape[:2], int), np.zeros((*seen.shape[:2], 3), np.float32)

    async def one(session: int) -> None:
        for step in range(seen.shape[1]):
            batcher = choose(session, step)
            given = step_of(batcher, f"/{session}", seen[session, step], float(rewards[session, step]))
            actions[session, step], scores[session, step] = read(await decide(batcher, given))

    for session in range(len(seen)):
        await store.create(f"/{session}", "a")
    await asyncio.gather(*map(one, range(len(seen))))
    return actions, scores


def require_same(found: tuple[Any, Any], wanted: tuple[Any, Any]) -> None:
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found[0], wanted[0])


def test_sessions_together_decide_as_each_alone(make: tuple[Agent, Callable[[int], Backend]]) -> None:
    agent, backend = make
    seen, rewards = histories(SESSIONS, STEPS)

    async def body() -> tuple[Any, Any]:
        store = MemoryStore(10, 60.0)
        batcher = batcher_of(backend(SESSIONS), store)
        found = await play(lambda *_: batcher, store, seen, rewards)
        await batcher.stop()
        return found

    require_same(asyncio.run(body()), expected(agent, seen, rewards))


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_memory_that_was_dropped_is_rebuilt(
    make: tuple[Agent, Callable[[int], Backend]], slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, backend = make
    seen, rewards = histories(SESSIONS, STEPS, seed=slots)
    rng = np.random.default_rng(slots)

    async def body() -> tuple[Any, Any]:
        store = MemoryStore(10, 60.0)
        batcher = batcher_of(backend(slots), store)
        following = batcher._next

        def drop() -> list[Step]:
            if rng.random() < 0.5:
                batcher.slots.drop(f"/{rng.integers(SESSIONS)}")
            return following()

        monkeypatch.setattr(batcher, "_next", drop)
        found = await play(lambda *_: batcher, store, seen, rewards)
        await batcher.stop()
        return found

    require_same(asyncio.run(body()), expected(agent, seen, rewards))


@pytest.mark.parametrize("turns", [1, 3, 11])
def test_replicas_share_sessions(make: tuple[Agent, Callable[[int], Backend]], redis: RedisServer, turns: int) -> None:
    """Two replicas take turns of 1 step (each reads what the other one did), 3 and 11 (more than is caught up)."""
    agent, backend = make
    seen, rewards = histories(SESSIONS, STEPS, seed=turns)

    async def body() -> tuple[Any, Any]:
        store = RedisStore(redis.url, 10, 60.0, prefix=uuid.uuid4().hex)
        replicas = [batcher_of(backend(SESSIONS), store) for _ in range(2)]
        found = await play(lambda session, step: replicas[(session + step // turns) % 2], store, seen, rewards)
        for one in replicas:
            await one.stop()
        await store.stop()
        return found

    require_same(asyncio.run(body()), expected(agent, seen, rewards))


def test_masks_and_actions_of_others_are_read(pair: Any) -> None:
    seen, rewards = histories(1, 12)
    rng = np.random.default_rng(3)
    masks = (rng.random((12, 1, 3)) < 0.6) | np.eye(3, dtype=bool)[1]
    others = [None if number % 3 else int(rng.integers(3)) for number in range(12)]

    async def body(slots: int, drop: bool) -> list[Any]:
        store = MemoryStore(10, 60.0)
        batcher = batcher_of(OnnxBackend(pair.file, slots, pair.agent), store)
        await store.create("/one", "a")
        answers = []
        for number in range(12):
            if drop:
                batcher.slots.drop("/one")
            other = others[number]
            given = step_of(
                batcher, "/one", seen[0, number], float(rewards[0, number]), mask=masks[number],
                previous_action=None if other is None or not number else (other,),
            )  # fmt: skip
            answers.append(read(await decide(batcher, given)))
        await batcher.stop()
        return answers

    state, wanted = None, []
    for number in range(12):
        other = others[number] if number else None
        decision, state = pair.agent.act(
            seen[:, number], state, reward=rewards[:, number], mask=masks[number],
            previous_action=None if other is None else np.array([other]),
        )  # fmt: skip
        wanted.append((int(decision.action[0]), decision.q[0]))
    for drop in (False, True):
        for (action, scores), (right, q) in zip(asyncio.run(body(2, drop)), wanted, strict=True):
            np.testing.assert_allclose(scores, q, rtol=1e-4, atol=1e-5)
            assert action == right


def test_a_session_that_was_opened_again_is_not_given_the_memory_of_the_old_one(pair: Any) -> None:
    """Replica A keeps the memory of a session which B closes, opens again under its name, and takes as many steps of."""
    seen, rewards = histories(2, 6)

    async def body() -> tuple[int, Any]:
        store = MemoryStore(10, 60.0)
        a, b = (batcher_of(TorchBackend(pair.agent, 2), store) for _ in range(2))
        await store.create("/one", "a")
        for number in range(5):
            await decide(a, step_of(a, "/one", seen[0, number], 0.0))
        await store.close("/one")
        await store.create("/one", "a")
        for number in range(5):
            await decide(b, step_of(b, "/one", seen[1, number], float(rewards[1, number])))
        answer = await decide(a, step_of(a, "/one", seen[1, 5], float(rewards[1, 5])))
        await a.stop()
        await b.stop()
        return read(answer)

    action, scores = asyncio.run(body())
    actions, wanted = expected(pair.agent, seen[1:], rewards[1:])
    np.testing.assert_allclose(scores, wanted[0, 5], rtol=1e-4, atol=1e-5)
    assert action == actions[0, 5]


def test_a_repeated_step_gets_the_same_answer_and_counts_once(pair: Any) -> None:
    async def body() -> None:
        store = MemoryStore(10, 60.0)
        batcher = batcher_of(TorchBackend(pair.agent, 2), store)
        await store.create("/one", "a")
        answers: list[bytes] = []
        for number in (0, 0, 1, 1, 1):
            seen = np.random.default_rng(len(answers)).standard_normal(3)  # what is repeated is not read again
            answers.append(await decide(batcher, step_of(batcher, "/one", seen, 0.0, number=number)))
        assert answers[0] == answers[1] and answers[2] == answers[3] == answers[4]
        assert answers[0] != answers[2]
        with pytest.raises(Conflict, match="expected step 2, got step 3"):
            await decide(batcher, step_of(batcher, "/one", np.zeros(3), 0.0, number=3))
        with pytest.raises(Conflict, match="expected step 2, got step 0"):
            await decide(batcher, step_of(batcher, "/one", np.zeros(3), 0.0, number=0))
        await batcher.stop()

    asyncio.run(body())


def test_steps_of_one_session_that_arrive_together_are_taken_one_after_another(pair: Any) -> None:
    seen, rewards = histories(1, 8)

    async def body() -> list[tuple[int, Any]]:
        store = MemoryStore(10, 60.0)
        batcher = batcher_of(TorchBackend(pair.agent, 4), store)
        await store.create("/one", "a")
        steps = [step_of(batcher, "/one", seen[0, number], float(rewards[0, number])) for number in range(8)]
        found = [read(one) for one in await asyncio.gather(*map(batcher.submit, steps))]
        await batcher.stop()
        return found

    found = asyncio.run(body())
    actions, scores = expected(pair.agent, seen, rewards)
    for number, (action, q) in enumerate(found):
        np.testing.assert_allclose(q, scores[0, number], rtol=1e-4, atol=1e-5)
        assert action == actions[0, number]


def test_a_decision_that_was_not_given_is_not_reported(pair: Any) -> None:
    """Two replicas compute step 0 of one session; the store takes one of them, and only that one is counted and logged."""
    reported: list[tuple[str | None, int]] = []

    class Noting(Observing):
        def decided(self, agent: str, rows: Any, records: Any, scores: Any) -> None:
            assert len(rows) == len(records) == len(scores)
            reported.extend((one.step.session, one.steps) for one in rows)

    async def body() -> None:
        store, backend = MemoryStore(10, 60.0), TorchBackend(pair.agent, 4)
        observer = Noting(ServiceMetrics(), StepFormat(backend.observation_spec, backend.action_spec))
        replicas = [Batcher("a", one, store, observer) for one in (backend, TorchBackend(pair.agent, 4))]
        for name in ("/a", "/b"):
            await store.create(name, "a")
        # The second replica computes two sessions at once, one of which the first replica has decided meanwhile.
        slow, computed, go_on = replicas[1], asyncio.Event(), asyncio.Event()
        append = store.append

        async def append_late(steps: Any) -> list[bool]:
            if not computed.is_set():
                computed.set()
                await go_on.wait()
            return await append(steps)

        store.append = append_late  # type: ignore[method-assign]
        both = [
            asyncio.create_task(decide(slow, step_of(slow, name, [0, 0, 0], 0.0, number=0))) for name in ("/a", "/b")
        ]
        await computed.wait()
        answer = await decide(replicas[0], step_of(replicas[0], "/a", [0, 0, 0], 0.0, number=0))
        go_on.set()
        found = await asyncio.gather(*both)
        assert found[0] == answer, "the same step gets the answer that was stored"
        for one in replicas:
            await one.stop()

    asyncio.run(body())
    assert sorted(reported) == [("/a", 0), ("/b", 0)]


def test_sessions_that_are_not_open_say_why(pair: Any) -> None:
    async def body() -> None:
        store = MemoryStore(1, 60.0)
        batcher = batcher_of(TorchBackend(pair.agent, 2), store)
        with pytest.raises(NotFound, match="no session 'one': open one first"):
            await decide(batcher, step_of(batcher, "/one", np.zeros(3), 0.0))
        await store.create("/one", "a")
        await store.create("/two", "a")
        with pytest.raises(Gone, match="'one' was evicted: the service held its largest number"):
            await decide(batcher, step_of(batcher, "/one", np.zeros(3), 0.0))
        await store.close("/two")
        with pytest.raises(Gone, match="'two' was closed"):
            await decide(batcher, step_of(batcher, "/two", np.zeros(3), 0.0))
        await batcher.stop()

    asyncio.run(body())


def test_the_session_of_another_agent_is_refused_or_adopted(pair: Any) -> None:
    async def body() -> None:
        store = MemoryStore(10, 60.0)
        await store.create("/one", "other")
        refusing = batcher_of(TorchBackend(pair.agent, 2), store, adopt=lambda agent: False)
        with pytest.raises(Moved, match="other"):
            await decide(refusing, step_of(refusing, "/one", np.zeros(3), 0.0))
        adopting = batcher_of(TorchBackend(pair.agent, 2), store, agent="new")
        await decide(adopting, step_of(adopting, "/one", np.zeros(3), 0.0))
        (session,) = [store._open["/one"]]
        assert session.agent == "new"
        await adopting.stop()
        await refusing.stop()

    asyncio.run(body())


class Slow(TorchBackend):
    """A backend that takes a moment, or fails."""

    fails = False

    def step(self, slots: Any, inputs: Any) -> Any:
        if self.fails:
            raise RuntimeError("out of memory")
        import time

        time.sleep(0.05)
        return super().step(slots, inputs)


def test_as_many_steps_may_wait_as_are_taken_in_time(pair: Any) -> None:
    batcher = batcher_of(TorchBackend(pair.agent, 8), MemoryStore(10, 60.0), most=4, queue=100, wait=2.0)
    for pause, limit in ((0.0, 100), (0.08, 100), (0.16, 50), (1.0, 8), (50.0, 4)):
        batcher.took(pause)  # 100 steps are 25 batches
        assert batcher.limit == limit
        assert batcher.full_wait == pytest.approx(pause * limit / 4)


def test_where_a_long_line_waits_two_batches_are_computed_together(pair: Any) -> None:
    """In the order in which they came, and no batch is larger than the slots."""

    async def body(slots: int) -> list[list[str]]:
        backend, store = TorchBackend(pair.agent, slots), MemoryStore(100, 60.0)
        batcher = batcher_of(backend, store, most=4, queue=100)
        genuine, batches = batcher.computer.compute, list[list[str]]()

        def compute(ready: Any) -> Any:
            batches.append([one.step.session for one in ready])
            return genuine(ready)

        batcher.computer.compute = compute  # type: ignore[method-assign]
        for number in range(30):
            await store.create(f"/{number}", "a")
        await asyncio.gather(
            *(decide(batcher, step_of(batcher, f"/{number}", np.zeros(3), 0.0)) for number in range(30))
        )
        await batcher.stop()
        return batches

    for slots, sizes in ((40, [8, 8, 8, 4, 2]), (6, [6, 6, 6, 6, 4, 2])):
        batches = asyncio.run(body(slots))
        assert [len(one) for one in batches] == sizes
        assert [one for batch in batches for one in batch] == [f"/{number}" for number in range(30)]


def test_a_full_queue_refuses_at_once(pair: Any) -> None:
    async def body() -> None:
        store = MemoryStore(100, 60.0)
        batcher = batcher_of(Slow(pair.agent, 50), store, most=1, queue=4)
        for number in range(12):
            await store.create(f"/{number}", "a")
        found = await asyncio.gather(
            *(decide(batcher, step_of(batcher, f"/{number}", np.zeros(3), 0.0)) for number in range(12)),
            return_exceptions=True,
        )
        refused = [one for one in found if isinstance(one, Overloaded)]
        assert len(refused) == 8 and all(one.retry_after is not None and one.retry_after >= 1 for one in refused)
        assert sum(isinstance(one, bytes) for one in found) == 4
        await batcher.stop()

    asyncio.run(body())


def test_after_a_fault_the_memory_is_rebuilt(pair: Any) -> None:
    seen, rewards = histories(1, 4)

    async def body() -> tuple[int, Any]:
        store = MemoryStore(10, 60.0)
        backend = Slow(pair.agent, 2)
        batcher = batcher_of(backend, store)
        await store.create("/one", "a")
        for number in range(3):
            await decide(batcher, step_of(batcher, "/one", seen[0, number], float(rewards[0, number])))
        backend.fails = True
        with pytest.raises(RuntimeError, match="out of memory"):
            await decide(batcher, step_of(batcher, "/one", seen[0, 3], float(rewards[0, 3])))
        backend.fails = False
        answer = await decide(batcher, step_of(batcher, "/one", seen[0, 3], float(rewards[0, 3])))
        await batcher.stop()
        with pytest.raises(Unavailable, match="stopping"):
            await decide(batcher, step_of(batcher, "/one", seen[0, 3], 0.0))
        return read(answer)

    action, scores = asyncio.run(body())
    actions, wanted = expected(pair.agent, seen, rewards)
    np.testing.assert_allclose(scores, wanted[0, 3], rtol=1e-4, atol=1e-5)
    assert action == actions[0, 3]


def test_a_step_that_no_one_waits_for_is_left_out(pair: Any) -> None:
    async def body() -> None:
        store = MemoryStore(10, 60.0)
        batcher = batcher_of(Slow(pair.agent, 2), store, most=1)
        await store.create("/one", "a")
        await store.create("/two", "a")
        first = asyncio.create_task(decide(batcher, step_of(batcher, "/one", np.zeros(3), 0.0)))
        await asyncio.sleep(0.01)  # it is computed
        second = asyncio.create_task(decide(batcher, step_of(batcher, "/two", np.zeros(3), 0.0)))
        await asyncio.sleep(0.01)
        second.cancel()
        await first
        await batcher.stop()
        assert store._open["/two"].steps == 0

    asyncio.run(body())
