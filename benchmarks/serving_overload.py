"""Overload: how much of its capacity `seqel serve` still answers when more is asked of it, and how fast it refuses the rest.

    python benchmarks/serving_overload.py [--times 3] [--sessions 128] [--rounds 6] [--source OTHER/src]

A round is a closed loop of all sessions, whose rate is the capacity, and then a window of overload, in which requests
begin at `--times` that rate whatever becomes of the ones before. Goodput is what was answered within the window of
overload, as a share of the capacity; "of processor time" divides both by the processor time that the server took, for
machines on which others compute. Medians are those of the rounds in which the server had its core for itself. With
--source, another version of the library is measured in turn. The agent is that of benchmarks/serving.py; server on core 0,
load generator on core 1 (--cores). JSON: benchmarks/results/serving/.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
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
from serving import HERE, PORT, RESULTS, Server, busy_seconds, make_agent
from serving_load import Connection, Load

CUTS = {"p50": 50, "p90": 90, "p99": 99, "most": 100}
ALONE = 0.96  # share of its core that the server had in both parts of a round, at least


def cuts(seconds: list[float]) -> dict[str, float]:
    """Return percentiles in milliseconds."""
    found = np.percentile(1e3 * np.array(seconds or [0.0]), list(CUTS.values())).round(2).tolist()
    return dict(zip(CUTS, found, strict=True))


class Rounds:
    """Alternates closed loops and windows of overload, against one server."""

    def __init__(self, server: Server, given: argparse.Namespace) -> None:
        self.server, self.given = server, given
        self.rounds: list[dict[str, Any]] = []
        self.statuses: Counter[str] = Counter()

    async def run(self) -> None:
        given, first = self.given, Load(f"http://127.0.0.1:{PORT}", "seqel", 4)
        free = [first.connection() for _ in range(given.connections)]
        for session in range(given.sessions):
            await first.open_session(free[session], session)
        await first.closed(given.sessions, 2.0, free)  # warm
        for _ in range(given.rounds):
            used, began = busy_seconds(serving.CORES[0]) - self.server.cpu_seconds, time.perf_counter()
            closed, passed, spent = await self._phase(first.prefix, free)
            capacity = len(closed.latencies) / passed
            rate = given.rate or round(given.times * capacity)
            over, passed_over, spent_over = await self._phase(first.prefix, free, rate)
            closed_each, over_each = len(closed.latencies) / spent, len(over.latencies) / spent_over
            self.statuses.update(over.statuses)
            self.rounds.append(
                {
                    "capacity": round(capacity, 1), "offered": rate,
                    "goodput": round(over.within / given.seconds / capacity, 3),
                    "goodput_of_processor_time": round(over_each / closed_each, 3),
                    "us_per_refusal": round(1e6 * (spent_over - len(over.latencies) / closed_each) / len(over.refused), 1),
                    "refused_ms": cuts(over.refused), "answered_ms": cuts(over.latencies),
                    "closed_loop_ms": cuts(closed.latencies),
                    "server_busy": [round(spent / passed, 2), round(spent_over / passed_over, 2)],
                    "others_share_of_core": round(
                        (busy_seconds(serving.CORES[0]) - self.server.cpu_seconds - used) / (time.perf_counter() - began), 3
                    ),
                    "generator_late_ms_p99": cuts(over.late)["p99"], "load_average": round(os.getloadavg()[0], 2),
                }
            )  # fmt: skip
            print(json.dumps(self.rounds[-1]), flush=True)

    async def _phase(self, prefix: str, free: list[Connection], rate: float = 0.0) -> tuple[Load, float, float]:
        """Return the load, the seconds that passed, and the seconds of processor time that the server took."""
        given, load = self.given, Load(f"http://127.0.0.1:{PORT}", "seqel", 4, prefix=prefix)
        spent = self.server.cpu_seconds
        if rate:
            passed = await load.at_rate(given.sessions, rate, given.seconds, free=free)
        else:
            passed = await load.closed(given.sessions, given.closed_seconds, free)
        return load, passed, self.server.cpu_seconds - spent

    def summary(self) -> dict[str, Any]:
        """Return the medians of the rounds in which the server had its core for itself, or of all if there was none."""
        alone = [one for one in self.rounds if min(one["server_busy"]) >= ALONE]
        chosen = alone or self.rounds
        found: dict[str, Any] = {"rounds_alone": len(alone), "statuses": dict(self.statuses)}
        for name in ("capacity", "offered", "goodput", "goodput_of_processor_time", "us_per_refusal"):
            found[name] = round(float(np.median([one[name] for one in chosen])), 3)
        for name in ("refused_ms", "answered_ms", "closed_loop_ms"):
            found[name] = {cut: round(float(np.median([one[name][cut] for one in chosen])), 2) for cut in CUTS}
        return found | {"rounds": self.rounds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=float, default=3.0, help="the offered rate, in capacities")
    parser.add_argument("--rate", type=float, default=0.0, help="requests per second, instead of --times")
    parser.add_argument("--sessions", type=int, default=128)
    parser.add_argument("--connections", type=int, default=700, help="of the load generator, at least --sessions")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each window of overload")
    parser.add_argument("--closed-seconds", type=float, default=3.0, help="of each closed loop")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--cores", type=int, nargs=2, default=[0, 1], help="of the server, and of the load generator")
    parser.add_argument("--source", type=Path, default=None, help="the src folder of another version, measured in turn")
    parser.add_argument("--serve", nargs="*", default=[], help="more arguments of `seqel serve`, without the dashes")
    parser.add_argument("--model", type=Path, default=None, help="an export, instead of a new one")
    parser.add_argument("--name", default="overload", help="of the JSON file")
    given = parser.parse_args()
    serving.CORES = (given.cores[0], given.cores[1])
    shape = {"layers": given.layers, "width": given.width, "context": given.context}
    sources = {"this version": HERE.parent / "src"} | ({} if given.source is None else {"other version": given.source})
    found: dict[str, Any] = {
        "command": f"python benchmarks/serving_overload.py {' '.join(sys.argv[1:])}".strip(), "agent": shape,
        "cores": os.cpu_count(), "versions": {},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        model = given.model or make_agent(Path(folder), **shape)
        gc.collect()
        gc.freeze()
        for name, source in sources.items():
            server = Server("seqel", model, 1, source, given.serve)
            os.sched_setaffinity(0, {given.cores[1]})
            try:
                rounds = Rounds(server, given)
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    runner.run(rounds.run())
            finally:
                server.stop()
            found["versions"][name] = one = rounds.summary()
            print(name, json.dumps(one), flush=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{given.name}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
