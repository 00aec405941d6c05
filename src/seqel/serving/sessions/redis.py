"""Sessions in Redis, shared by all replicas of a service, and kept over their ends. Needs the extra `serve`.

Each session is a hash (agent, opened, steps, answer, reward) and a list of records. One sorted set orders the open
sessions by their last step, for eviction and expiry. A batch of sessions is read in one round trip, and written in one;
each step is added by a script, which Redis runs atomically, so two replicas cannot both add step n.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from seqel.errors import ConfigError, StorageError
from seqel.extras import require
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

__all__ = ["RedisStore"]

# Keys: 1 the hash, 2 the list, 3 the sorted set of open sessions, 4 why it ended.
CREATE = """
redis.call('DEL', KEYS[1], KEYS[2], KEYS[4])
redis.call('HSET', KEYS[1], 'agent', ARGV[2], 'steps', 0, 'answer', '', 'opened', ARGV[4], 'reward', 0)
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[1])
return redis.call('ZCARD', KEYS[3])
"""
READ = """
local found = redis.call('HMGET', KEYS[1], 'agent', 'opened', 'steps', 'answer', 'reward')
if not found[1] then return {redis.call('GET', KEYS[4])} end
if tonumber(redis.call('ZSCORE', KEYS[3], ARGV[1]) or 0) < tonumber(ARGV[3]) then return {ARGV[4]} end
local missing = tonumber(found[3]) - tonumber(ARGV[2])
if missing > 0 then found[6] = redis.call('LRANGE', KEYS[2], -missing, -1) else found[6] = {} end
return found
"""
APPEND = """
local steps = redis.call('HGET', KEYS[1], 'steps')
if steps ~= ARGV[2] then  -- unless this very step was added, and only the reply was lost
  local same = steps and tonumber(steps) == tonumber(ARGV[2]) + 1 and redis.call('LINDEX', KEYS[2], -1) == ARGV[3]
  return same and 1 or 0
end
redis.call('RPUSH', KEYS[2], ARGV[3])
if tonumber(ARGV[6]) > 0 then redis.call('LTRIM', KEYS[2], -tonumber(ARGV[6]), -1) end
redis.call('HSET', KEYS[1], 'steps', tonumber(ARGV[2]) + 1, 'answer', ARGV[4], 'agent', ARGV[5], 'reward', 0)
redis.call('ZADD', KEYS[3], ARGV[7], ARGV[1])
return 1
"""
REWARD = """
local steps = redis.call('HGET', KEYS[1], 'steps')
if not steps or tonumber(steps) - 1 ~= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'reward', ARGV[2])
return 1
"""
END = """
local there = redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('DEL', KEYS[1], KEYS[2])
if there == 1 then redis.call('SET', KEYS[4], ARGV[2], 'EX', ARGV[3]) end
return there
"""

SHA = {script: hashlib.sha1(script.encode()).hexdigest() for script in (CREATE, READ, APPEND, REWARD, END)}
WAIT = 5.0  # seconds


class RedisStore:
    """A `SessionStore` in Redis.

    url: such as redis://host:6379/0. prefix: of all keys, so that several services can share a database.
    most, time_to_live: as in `MemoryStore`; both should be the same in all replicas.

    Raises MissingExtraError if the client is not installed.
    """

    def __init__(self, url: str, most: int, time_to_live: float, prefix: str = "seqel") -> None:
        require_bounds(most, time_to_live)
        require("redis", "serve", "sessions in Redis")
        from redis import asyncio as redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        self.most, self.time_to_live, self.prefix = most, time_to_live, prefix
        try:
            self._client: Any = redis.Redis.from_url(
                url, socket_timeout=5.0, socket_connect_timeout=2.0, retry=Retry(NoBackoff(), 0)
            )
        except ValueError as error:
            raise ConfigError(f"sessions: expected an address such as redis://host:6379/0, got {url!r}") from error

    async def create(self, session: str, agent: str) -> list[str]:
        now = time.time()
        (size,) = await self._run([(CREATE, self._keys(session), [session, agent, now, uuid.uuid4().hex])])
        evicted = []
        if size > self.most:
            oldest = await self._retried(lambda: self._client.zrange(self._index, 0, size - self.most - 1))
            evicted = [name.decode() for name in oldest if name.decode() != session]
            await self._stop_sessions(evicted, EVICTED)
        return evicted

    async def read(self, wanted: Sequence[Wanted]) -> list[Held | Ended]:
        oldest = time.time() - self.time_to_live
        calls = [(READ, self._keys(one.session), [one.session, one.known, oldest, EXPIRED]) for one in wanted]
        found: list[Held | Ended] = []
        for reply in await self._run(calls):
            if len(reply) == 1:
                found.append(Ended((reply[0] or b"").decode()))
            else:
                agent, opened, steps, answer, reward, records = reply
                found.append(Held(agent.decode(), opened.decode(), int(steps), records, answer, float(reward)))
        return found

    async def append(self, steps: Sequence[NewStep]) -> list[bool]:
        now = time.time()
        calls = [
            (
                APPEND,
                self._keys(step.session),
                [step.session, step.number, step.record, step.answer, step.agent, step.keep, now],
            )
            for step in steps
        ]
        return [bool(reply) for reply in await self._run(calls)]

    async def reward(self, session: str, number: int, reward: float) -> bool:
        (done,) = await self._run([(REWARD, self._keys(session), [number, float(reward)])])
        return bool(done)

    async def close(self, session: str) -> Held | Ended:
        (found,) = await self.read([Wanted(session)])
        if isinstance(found, Held):
            await self._stop_sessions([session], CLOSED)
        return found

    async def expire(self) -> list[str]:
        oldest = time.time() - self.time_to_live
        names = await self._retried(lambda: self._client.zrangebyscore(self._index, "-inf", f"({oldest}"))
        expired = [name.decode() for name in names]
        await self._stop_sessions(expired, EXPIRED)
        return expired

    async def count(self) -> int:
        return int(await self._retried(lambda: self._client.zcard(self._index)))

    async def stop(self) -> None:
        await self._client.aclose()

    @property
    def _index(self) -> str:
        return f"{self.prefix}:sessions"

    def _keys(self, session: str) -> list[str]:
        base = f"{self.prefix}:session:{session}"
        return [base, f"{base}:steps", self._index, f"{base}:ended"]

    async def _stop_sessions(self, sessions: Sequence[str], reason: str) -> None:
        await self._run([(END, self._keys(one), [one, reason, int(REMEMBERED)]) for one in sessions])

    async def _run(self, calls: Sequence[tuple[str, list[str], list[Any]]]) -> list[Any]:
        """Run scripts, each with its keys and arguments, in one round trip."""
        if not calls:
            return []

        async def run() -> Any:
            pipeline = self._client.pipeline(transaction=False)
            for script, keys, given in calls:
                pipeline.evalsha(SHA[script], len(keys), *keys, *given)
            return await pipeline.execute()

        return list(await self._retried(run))

    async def _retried(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Await work until it succeeds, for at most WAIT seconds: Redis may be restarting."""
        from redis.exceptions import ConnectionError as Unreachable
        from redis.exceptions import NoScriptError, RedisError
        from redis.exceptions import TimeoutError as Late

        began, pause = time.monotonic(), 0.02
        while True:
            try:
                return await work()
            except NoScriptError:  # a new server
                for script in SHA:
                    await self._retried(lambda script=script: self._client.script_load(script))  # type: ignore[misc]
            except (Unreachable, Late, OSError) as error:
                if time.monotonic() - began > WAIT:
                    raise StorageError(f"sessions: Redis cannot be reached ({error})") from error
                await asyncio.sleep(pause)
                pause = min(0.25, 2 * pause)
            except RedisError as error:
                raise StorageError(f"sessions: Redis refuses ({error})") from error
