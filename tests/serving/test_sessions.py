"""Both stores of sessions keep the order of steps, end sessions for a reason, and give back what was stored."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from seqel.errors import ConfigError, StorageError
from seqel.serving.sessions import redis as redis_store
from seqel.serving.sessions.base import Ended, Held, NewStep, SessionStore, Wanted
from seqel.serving.sessions.memory import MemoryStore
from seqel.serving.sessions.redis import RedisStore
from support_serving import RedisServer, redis_server

Body = Callable[[SessionStore], Awaitable[None]]


@pytest.fixture(params=["memory", "redis"])
def run(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Run a test's body with a store."""
    url = request.getfixturevalue("redis").url if request.param == "redis" else ""

    def go(body: Body, most: int = 10, time_to_live: float = 60.0) -> None:
        async def work() -> None:
            store: SessionStore
            if url:
                store = RedisStore(url, most, time_to_live, prefix=uuid.uuid4().hex)
            else:
                store = MemoryStore(most, time_to_live)
            await body(store)
            await store.stop()

        asyncio.run(work())

    return go


def step(session: str, number: int, record: bytes = b"", agent: str = "a", keep: int = 0) -> NewStep:
    return NewStep(session, number, record or f"step {number}".encode(), f"answer {number}".encode(), agent, keep)


async def held(store: SessionStore, session: str, known: int = 0) -> Held:
    (found,) = await store.read([Wanted(session, known)])
    assert isinstance(found, Held)
    return found


def test_steps_are_kept_in_order(run: Callable[..., None]) -> None:
    async def body(store: SessionStore) -> None:
        assert await store.create("one", "a") == []
        await store.create("two", "b")
        assert await store.append([step("one", 0), step("two", 0, b"other", "c")]) == [True, True]
        assert await store.append([step("one", 1)]) == [True]
        one = await held(store, "one")
        assert (one.agent, one.steps, one.records, one.answer) == ("a", 2, [b"step 0", b"step 1"], b"answer 1")
        assert (await held(store, "one", 1)).records == [b"step 1"]
        assert (await held(store, "one", 2)).records == []
        assert (await held(store, "one", 7)).records == []
        assert (await held(store, "two")).agent == "c"
        assert await store.count() == 2

    run(body)


def test_only_the_next_step_is_added(run: Callable[..., None]) -> None:
    async def body(store: SessionStore) -> None:
        await store.create("one", "a")
        await store.append([step("one", 0)])
        assert await store.append([step("one", 0, b"another"), step("one", 2), step("none", 0)]) == [False] * 3
        assert (await held(store, "one")).records == [b"step 0"]

    run(body)


def test_the_latest_records_are_kept_and_all_steps_counted(run: Callable[..., None]) -> None:
    async def body(store: SessionStore) -> None:
        await store.create("one", "a")
        for number in range(50):
            await store.append([step("one", number, keep=4)])
        found = await held(store, "one")
        assert found.steps == 50
        assert 4 <= len(found.records) < 8
        assert found.records[-4:] == [f"step {number}".encode() for number in range(46, 50)]

    run(body)


def test_a_reward_belongs_to_the_last_step_and_ends_with_it(run: Callable[..., None]) -> None:
    async def body(store: SessionStore) -> None:
        await store.create("one", "a")
        assert not await store.reward("one", 0, 1.0)  # not taken yet
        await store.append([step("one", 0)])
        assert await store.reward("one", 0, 1.0)
        assert await store.reward("one", 0, 2.5)  # the last report counts
        assert (await held(store, "one")).reward == 2.5
        await store.append([step("one", 1)])
        assert (await held(store, "one")).reward == 0.0
        assert not await store.reward("one", 0, 1.0)
        assert not await store.reward("none", 0, 1.0)

    run(body)


def test_a_session_that_is_opened_again_is_another_one(run: Callable[..., None]) -> None:
    async def body(store: SessionStore) -> None:
        await store.create("one", "a")
        await store.append([step("one", 0)])
        before = await held(store, "one")
        await store.create("one", "b")
        after = await held(store, "one")
        assert (after.steps, after.records, after.agent) == (0, [], "b")
        assert before.opened != after.opened
        assert await store.count() == 1

    run(body)


def test_a_closed_session_says_so(run: Callable[..., None]) -> None:
    async def body(store: SessionStore) -> None:
        await store.create("one", "a")
        await store.append([step("one", 0)])
        closed = await store.close("one")
        assert isinstance(closed, Held) and closed.records == [b"step 0"]
        assert await store.close("one") == Ended("closed")
        assert await store.read([Wanted("one"), Wanted("never")]) == [Ended("closed"), Ended("")]
        assert await store.append([step("one", 1)]) == [False]
        await store.create("one", "a")  # the name is free again
        assert (await held(store, "one")).steps == 0

    run(body)


def test_the_session_that_was_idle_longest_is_evicted(run: Callable[..., None]) -> None:
    async def body(store: SessionStore) -> None:
        for name in ("one", "two", "three"):
            await store.create(name, "a")
        await store.append([step("one", 0)])
        assert await store.create("four", "a") == ["two"]
        assert await store.read([Wanted("two")]) == [Ended("evicted")]
        assert (await held(store, "one")).steps == 1
        assert await store.count() == 3

    run(body, most=3)


def test_an_idle_session_expires(run: Callable[..., None]) -> None:
    async def body(store: SessionStore) -> None:
        await store.create("one", "a")
        await store.create("two", "a")
        await asyncio.sleep(0.15)
        await store.append([step("two", 0)])
        await asyncio.sleep(0.15)
        assert await store.read([Wanted("one")]) == [Ended("expired")]  # before anything looks for it
        await store.expire()
        assert await store.read([Wanted("one")]) == [Ended("expired")]
        assert (await held(store, "two")).steps == 1
        assert await store.count() == 1

    run(body, time_to_live=0.25)


def test_bounds_must_make_sense() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        MemoryStore(0, 1.0)
    with pytest.raises(ConfigError, match="positive"):
        RedisStore("redis://localhost", 1, 0.0)
    with pytest.raises(ConfigError, match="redis://host"):
        RedisStore("localhost:6379", 1, 1.0)


def test_a_step_whose_reply_was_lost_is_not_added_twice(redis: RedisServer) -> None:
    async def body() -> None:
        store = RedisStore(redis.url, 10, 60.0, prefix=uuid.uuid4().hex)
        await store.create("one", "a")
        assert await store.append([step("one", 0, b"with a time")]) == [True]
        assert await store.append([step("one", 0, b"with a time")]) == [True]  # what a retry sends
        assert (await held(store, "one")).records == [b"with a time"]
        await store.stop()

    asyncio.run(body())


def test_a_restart_of_redis_loses_nothing(tmp_path: Path, redis: RedisServer) -> None:
    async def body() -> None:
        with redis_server(tmp_path) as server:
            store = RedisStore(server.url, 10, 60.0)
            await store.create("one", "a")
            await store.append([step("one", 0)])
            server.kill()
            asyncio.get_running_loop().call_later(0.5, server.start)
            assert await store.append([step("one", 1)]) == [
                True
            ]  # it waits for the server, and loads the scripts again
            assert (await held(store, "one")).records == [b"step 0", b"step 1"]
            await store.stop()

    asyncio.run(body())


def test_a_redis_that_stays_away_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_store, "WAIT", 0.2)

    async def body() -> None:
        store = RedisStore("redis://127.0.0.1:1/0", 10, 60.0)
        with pytest.raises(StorageError, match="cannot be reached"):
            await store.count()

    asyncio.run(body())
