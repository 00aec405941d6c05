"""Time limits of futures: each fails in its turn, and what is done is forgotten."""

from __future__ import annotations

import asyncio

import pytest

from seqel.serving.deadlines import Deadlines


def test_what_is_not_done_in_time_fails_and_nothing_else() -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        deadlines = Deadlines(0.1, lambda: TimeoutError("late"))
        futures = [loop.create_future() for _ in range(4)]
        for one in futures[:3]:
            deadlines.watch(one)
        futures[1].set_result("in time")
        await asyncio.sleep(0.06)
        deadlines.watch(futures[3])
        await asyncio.sleep(0.07)
        with pytest.raises(TimeoutError, match="late"):
            await futures[0]
        assert await futures[1] == "in time"
        assert isinstance(futures[2].exception(), TimeoutError)
        assert not futures[3].done()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(futures[3], 5.0)

    asyncio.run(body())


def test_futures_that_are_done_are_forgotten_and_there_is_one_timer() -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        timers = 0
        genuine = loop.call_at

        def call_at(*arguments: object, **more: object) -> asyncio.TimerHandle:
            nonlocal timers
            timers += 1
            return genuine(*arguments, **more)  # type: ignore[arg-type]

        loop.call_at = call_at  # type: ignore[method-assign]
        deadlines = Deadlines(60.0, lambda: TimeoutError("late"))
        for _ in range(1_000):
            future = loop.create_future()
            deadlines.watch(future)
            future.set_result(None)
        assert timers == 1 and len(deadlines) == 1

    asyncio.run(body())
