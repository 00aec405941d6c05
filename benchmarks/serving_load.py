"""A load generator for HTTP services of agents: sessions in a closed loop, or requests at a given rate.

    python benchmarks/serving_load.py http://127.0.0.1:8000 --sessions 16 --seconds 10 [--kind seqel]
    python benchmarks/serving_load.py http://127.0.0.1:8000 --sessions 10000 --rate 500 --seconds 60

Closed loop: each session sends its next step when the last one is answered. With --rate, requests begin at fixed times,
whatever became of the ones before, and latency counts from these times. Requests are written and answers read by hand, in one
process, so that the generator takes a small part of a core. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import uvloop

PATHS = {"seqel": "/v1/sessions/{session}/act", "plain": "/predict", "lists": "/predict"}


def body_of(kind: str, observation: list[float]) -> bytes:
    """Return the body of a request. lists: of a list with one observation, which the server joins with those of others."""
    given = {"observation": [observation]} if kind == "lists" else {"observation": observation, "reward": 1.0}
    return json.dumps(given).encode()


class Connection:
    """One HTTP/1.1 connection that is kept open."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def post(self, path: str, body: bytes, header: str = "", method: str = "POST") -> tuple[int, bytes]:
        """Send a request and return status and body; a connection that was closed is opened again. header: one more line."""
        more = f"{header}\r\n" if header else ""
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: {self.host}\r\n{more}content-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        for attempt in range(2):
            try:
                if self.writer is None:
                    self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
                assert self.reader is not None
                self.writer.write(head.encode() + body)
                return await self._answer(self.reader)
            except (OSError, asyncio.IncompleteReadError):
                self.writer = None
                if attempt:
                    raise
        raise OSError("no answer")

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[int, bytes]:
        lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        status, length, chunked = int(lines[0].split()[1]), 0, False
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
            chunked = chunked or (name.lower() == b"transfer-encoding" and b"chunked" in value)
        if not chunked:
            return status, await reader.readexactly(length)
        parts = []
        while size := int(await reader.readline(), 16):
            parts.append(await reader.readexactly(size))
            await reader.readline()
        await reader.readline()
        return status, b"".join(parts)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()


class Load:
    """Sends steps of sessions, and counts what becomes of them."""

    def __init__(self, url: str, kind: str, size: int, seed: int = 0, prefix: str = "") -> None:
        parts = urlsplit(url)
        self.host, self.port, self.kind = parts.hostname or "127.0.0.1", parts.port or 80, kind
        self.prefix = prefix or f"load{time.time_ns()}"
        rng = np.random.default_rng(seed)
        seen = rng.standard_normal((256, size)).round(4)
        self.bodies = [body_of(kind, row.tolist()) for row in seen]
        self.latencies: list[float] = []
        self.refused: list[float] = []
        self.late: list[float] = []  # seconds by which requests began after their time
        self.until, self.within = float("inf"), 0  # when requests end; answers until then
        self.statuses: Counter[str] = Counter()

    def connection(self) -> Connection:
        return Connection(self.host, self.port)

    async def open_session(self, connection: Connection, session: int) -> None:
        if self.kind == "seqel":
            body = json.dumps({"session": f"{self.prefix}-{session}"}).encode()
            status, answer = await connection.post("/v1/sessions", body)
            assert status == 201, answer

    async def step(self, connection: Connection, session: int, number: int, began: float) -> None:
        path = PATHS[self.kind].format(session=f"{self.prefix}-{session}")
        try:
            status, _ = await connection.post(path, self.bodies[(session * 7 + number) % 256])
        except (OSError, asyncio.IncompleteReadError) as error:
            self.statuses[type(error).__name__] += 1
            return
        taken = time.perf_counter() - began
        self.statuses[str(status)] += 1
        self.within += int(status == 200 and began + taken <= self.until)
        (self.latencies if status == 200 else self.refused).append(taken)

    async def closed(self, sessions: int, seconds: float, free: list[Connection] | None = None) -> float:
        """Run sessions in a closed loop. -> the seconds that passed.

        free: connections that are used and left open, at least one per session; the sessions are then open already.
        """
        connections = free or [self.connection() for _ in range(sessions)]
        if free is None:
            for number, one in enumerate(connections):
                await self.open_session(one, number)
        until = time.perf_counter() + seconds

        async def run(session: int) -> None:
            number = 0
            while (began := time.perf_counter()) < until:
                await self.step(connections[session], session, number, began)
                number += 1

        began = time.perf_counter()
        await asyncio.gather(*map(run, range(sessions)))
        if free is None:
            for one in connections:
                one.close()
        return time.perf_counter() - began

    async def at_rate(
        self, sessions: int, rate: float, seconds: float, connections: int = 32, opened: bool = False,
        free: list[Connection] | None = None,
    ) -> float:  # fmt: skip
        """Send requests at fixed times, each for the next session. -> the seconds that passed.

        free: connections that are used and left open; the sessions are then open already.
        """
        keep, free = free is not None, free or [self.connection() for _ in range(connections)]
        if not (opened or keep):
            for session in range(sessions):
                await self.open_session(free[session % connections], session)
        counts, tasks = [0] * sessions, set()
        began, session = time.perf_counter(), 0
        self.until = began + seconds
        order = np.random.default_rng(1).permutation(sessions)
        for number in range(int(rate * seconds)):
            due = began + number / rate
            now = time.perf_counter()
            if due > now:
                await asyncio.sleep(due - now)
            elif number % 16 == 0:
                await asyncio.sleep(0)
            if not free:
                free.append(self.connection())
            self.late.append(max(0.0, time.perf_counter() - due))
            connection, session = free.pop(), int(order[number % sessions])
            counts[session] += 1
            task = asyncio.create_task(self._lent(free, connection, session, counts[session], due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        passed = time.perf_counter() - began
        if not keep:
            for one in free:
                one.close()
        return passed

    async def _lent(
        self, free: list[Connection], connection: Connection, session: int, number: int, due: float
    ) -> None:
        await self.step(connection, session, number, due)
        free.append(connection)

    def summary(self, passed: float) -> dict[str, Any]:
        """Return rates and latencies in milliseconds."""
        found: dict[str, Any] = {
            "seconds": round(passed, 2), "answered": len(self.latencies),
            "answered_within": self.within, "per_second": round(len(self.latencies) / passed, 1),
            "statuses": dict(self.statuses),
        }  # fmt: skip
        found["generator"] = {"busy": round(time.process_time() / passed, 2)}
        if self.late:
            found["generator"]["late_ms_p99"] = round(1e3 * float(np.percentile(self.late, 99)), 3)
        for name, some in (("ms", self.latencies), ("refused_ms", self.refused)):
            if some:
                cuts = np.percentile(1e3 * np.array(some), [50, 90, 99, 100]).round(3).tolist()
                found[name] = dict(zip(("p50", "p90", "p99", "most"), cuts, strict=True))
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument(
        "--kind", choices=list(PATHS), default="seqel", help="plain, lists: without sessions, at /predict"
    )
    parser.add_argument("--sessions", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=0.0, help="requests per second; 0: closed loop")
    parser.add_argument("--connections", type=int, default=32, help="at first, with --rate")
    parser.add_argument("--size", type=int, default=4, help="numbers of an observation")
    given = parser.parse_args()
    load = Load(given.url, given.kind, given.size)
    work = (
        load.at_rate(given.sessions, given.rate, given.seconds, given.connections)
        if given.rate
        else load.closed(given.sessions, given.seconds)
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        passed = runner.run(work)
    print(json.dumps(load.summary(passed)))


if __name__ == "__main__":
    main()
