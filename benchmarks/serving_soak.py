"""A soak of `seqel serve`: minutes at a share of its capacity, while sessions come and go. Counts errors, watches the memory.

    python benchmarks/serving_soak.py [--minutes 10] [--share 0.8] [--cores 0 0]

Sessions take 5 to 60 steps at random. Half of them are then closed; the others are left and expire. First a closed loop of
`--clients` takes such steps, and opens and closes such sessions, as fast as they are answered. Its steps per second are the
capacity. Then the steps begin at fixed times, at `--share` of that rate, which is reached after 10 seconds, with the same
mix: a session without an open step waits for its turn among `--idle` others. Every 5 seconds, the resident memory of the
server is read; its slope is that of a line through the values from minute 2 on. The agent is small (2 layers, width 64,
context 64), so that most of the time goes into everything around it. JSON: benchmarks/results/serving/soak.json.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import math
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

import serving
from serving import PORT, RESULTS, Server, busy_seconds, make_agent
from serving_load import Connection, Load

RISE = 10.0  # seconds in which the rate rises
EVERY = 5.0  # seconds between two readings of the memory
SETTLED = 120.0  # seconds after which it should be flat
WARM = 3.0  # seconds of the closed loop before the capacity is measured
SERVE = [
    "sessions",
    "8000",
    "time-to-live",
    "60",
]  # short, so that the sessions that are left expire and are not evicted


class Soak:
    """Sends the steps of sessions that come and go to one server."""

    def __init__(self, server: Server, given: argparse.Namespace) -> None:
        self.server, self.given = server, given
        self.prefix = f"soak{time.time_ns()}"
        self.load = self._load()
        self.rng = np.random.default_rng(0)
        self.free = [self.load.connection() for _ in range(given.clients)]
        self.idle: list[list[int]] = []  # number of a session, steps taken, steps in all
        self.sessions = 0
        self.events: Counter[str] = Counter()
        self.memory: list[tuple[float, float]] = []  # seconds, MiB

    async def run(self) -> dict[str, Any]:
        """Measure the capacity, then load the server for minutes."""
        given = self.given
        await self._closed(WARM)
        capacity, closed = await self._closed(given.closed_seconds)
        rate, tasks = given.share * capacity, set()
        self.load, self.events = self._load(), Counter()
        used = self._others()
        began, number = time.perf_counter(), 0
        watch = asyncio.create_task(self._watch(began))
        while time.perf_counter() - began < 60 * given.minutes:
            due = _due(number, rate)
            ahead = began + due - time.perf_counter()
            if ahead > 0:
                await asyncio.sleep(ahead)
            elif number % 16 == 0:
                await asyncio.sleep(0)
            number += 1
            self.load.late.append(max(0.0, time.perf_counter() - began - due))
            connection = self.free.pop() if self.free else self.load.connection()
            task = asyncio.create_task(self._lent(connection, began + due))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        watch.cancel()
        passed = time.perf_counter() - began
        others = [round((now - then) / passed, 3) for now, then in zip(self._others(), used, strict=True)]
        return {"closed_loop": closed, "others_share_of_cores": others} | self._summary(capacity, rate, passed)

    def _others(self) -> tuple[float, float]:
        """Return the processor time that other processes have had of the cores of server and generator."""
        server, generator = serving.CORES
        return (
            busy_seconds(server) - self.server.cpu_seconds,
            busy_seconds(generator) - time.process_time(),
        )

    async def _closed(self, seconds: float) -> tuple[float, dict[str, Any]]:
        """Let each connection take one step after another. -> steps per second, and what became of everything."""
        self.load, self.events = self._load(), Counter()
        began = time.perf_counter()
        self.load.until = began + seconds

        async def work(connection: Connection) -> None:
            while (now := time.perf_counter()) < self.load.until:
                await self._step(connection, now)

        await asyncio.gather(*map(work, self.free))
        found = self.load.summary(time.perf_counter() - began) | {"sessions": dict(self.events)}
        return self.load.within / seconds, found

    def _load(self) -> Load:
        """Return a new count of what becomes of steps, of the same sessions."""
        return Load(f"http://127.0.0.1:{PORT}", "seqel", 4, prefix=self.prefix)

    async def _step(self, connection: Connection, began: float) -> None:
        try:
            if self.idle and len(self.idle) > self.given.idle:
                session = self.idle.pop(int(self.rng.integers(len(self.idle))))
            else:
                session = [self.sessions, 0, int(self.rng.integers(5, 61))]
                self.sessions += 1
                await self.load.open_session(connection, session[0])
                self.events["opened"] += 1
            await self.load.step(connection, session[0], session[1], began)
            session[1] += 1
            if session[1] < session[2]:
                self.idle.append(session)
            elif self.rng.random() < 0.5:
                path = f"/v1/sessions/{self.load.prefix}-{session[0]}"
                status, _ = await connection.post(path, b"", method="DELETE")
                self.events[f"closed {status}"] += 1
            else:
                self.events["left"] += 1
        except (AssertionError, OSError) as error:
            self.events[f"{type(error).__name__}: {error!s:.80}"] += 1

    async def _lent(self, connection: Connection, began: float) -> None:
        await self._step(connection, began)
        self.free.append(connection)

    async def _watch(self, began: float) -> None:
        while True:
            status = Path(f"/proc/{self.server.process.pid}/status").read_text()
            kib = int(status.split("VmRSS:")[1].split()[0])
            self.memory.append((round(time.perf_counter() - began, 1), round(kib / 1024, 2)))
            await asyncio.sleep(EVERY)

    def _summary(self, capacity: float, rate: float, passed: float) -> dict[str, Any]:
        seconds, mib = np.array(self.memory).T
        late = seconds >= min(SETTLED, seconds[-1] / 2)
        slope = float(np.polyfit(seconds[late] / 60, mib[late], 1)[0])
        return {
            "capacity": round(capacity, 1), "rate": round(rate, 1), "seconds": round(passed, 1),
            "steps": self.load.summary(passed), "sessions": dict(self.events),
            "memory": {
                "mib_at_2_minutes": float(mib[late][0]), "mib_at_the_end": float(mib[-1]), "most": float(mib.max()),
                "slope_mib_per_minute": round(slope, 4), "mib_every_30_seconds": mib[::6].tolist(),
            },
            "load_average": round(os.getloadavg()[0], 2),
        }  # fmt: skip


def _due(number: int, rate: float) -> float:
    """Return when the step of this number begins: the rate rises linearly in the first `RISE` seconds."""
    rising = rate * RISE / 2  # steps
    return math.sqrt(2 * RISE * number / rate) if number < rising else RISE / 2 + number / rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--share", type=float, default=0.8, help="of the capacity")
    parser.add_argument(
        "--clients", type=int, default=64, help="of the closed loop: one batch is computed, and one waits"
    )
    parser.add_argument("--idle", type=int, default=500, help="sessions that wait for their turn, at least")
    parser.add_argument("--closed-seconds", type=float, default=15.0, help="in which the capacity is measured")
    parser.add_argument("--cores", type=int, nargs=2, default=[0, 1], help="of the server, and of the load generator")
    parser.add_argument("--name", default="soak", help="of the JSON file")
    given = parser.parse_args()
    serving.CORES = (given.cores[0], given.cores[1])
    shape = {"layers": 2, "width": 64, "context": 64}
    with tempfile.TemporaryDirectory() as folder:
        model = make_agent(Path(folder), **shape)
        gc.collect()
        gc.freeze()  # so that looking for garbage in torch does not hold up the generator
        server = Server("seqel", model, 1, more=SERVE)
        os.sched_setaffinity(0, {given.cores[1]})
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                found = runner.run(Soak(server, given).run())
            log = server.log.read_text(errors="replace")
        finally:
            server.stop()
    found = {
        "command": f"python benchmarks/serving_soak.py {' '.join(sys.argv[1:])}".strip(), "agent": shape,
        "serve": SERVE, "lines_of_log": [line for line in log.splitlines() if '"level"' in line][:20],
    } | found  # fmt: skip
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{given.name}.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
