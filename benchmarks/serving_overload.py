"""Overload: how much of its capacity `seqel serve` still answers when more is asked of it, and how fast it refuses the rest.

    python benchmarks/serving_overload.py [--times 3] [--sessions 256] [--seconds 15] [--rounds 2] [--source OTHER/src]

Capacity is what a closed loop of all sessions gets, measured before and after each window of overload, in which requests begin
at `--times` that rate whatever becomes of the ones before. Server on core 0, load generator on core 1, the agent of
benchmarks/serving.py. With --source, another version of the library is measured in turn. JSON: benchmarks/results/serving/.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import serving
from serving import HERE, RESULTS, Server, load, make_agent


def timed(server: Server, *arguments: Any) -> dict[str, Any]:
    """Run the load generator, and add how many answers the server gave per second of its own processor time."""
    spent, began = server.cpu_seconds, time.perf_counter()
    found = load("seqel", *arguments)
    spent, passed = server.cpu_seconds - spent, time.perf_counter() - began
    return found | {
        "per_processor_second": round(found["answered"] / spent, 1),
        "server_busy": round(spent / passed, 2),
    }


def window(model: Path, source: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Measure capacity, overload, and capacity again, of a server that is started for it."""
    server = Server("seqel", model, 1, source, given.serve)
    try:
        load("seqel", given.sessions, 2.0)  # warm
        before = timed(server, given.sessions, given.capacity_seconds)
        rate = given.rate or round(given.times * before["per_second"])
        over = timed(server, given.sessions, given.seconds, rate)
        after = timed(server, given.sessions, given.capacity_seconds)
    finally:
        server.stop()
    closed = before, after
    capacity = statistics.mean(one["per_second"] for one in closed)
    in_time = statistics.mean(one["per_processor_second"] for one in closed)
    return {
        "capacity": [one["per_second"] for one in closed],
        "offered": rate,
        "offered_share": round(rate / capacity, 3),
        "goodput": round(over["answered_within"] / given.seconds / capacity, 3),
        "goodput_of_processor_time": round(over["per_processor_second"] / in_time, 3),
        "server_busy": [one["server_busy"] for one in (before, over, after)],
        "load_average": round(os.getloadavg()[0], 2),
        "overload": over,
        "closed_loop": before,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=float, default=3.0, help="the offered rate, in capacities")
    parser.add_argument("--rate", type=float, default=0.0, help="requests per second, instead of --times")
    parser.add_argument("--sessions", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=15.0, help="of overload")
    parser.add_argument("--capacity-seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--cores", type=int, nargs=2, default=[0, 1], help="of the server, and of the load generator")
    parser.add_argument("--source", type=Path, default=None, help="the src folder of another version, measured in turn")
    parser.add_argument("--serve", nargs="*", default=[], help="more arguments of `seqel serve`, without the dashes")
    parser.add_argument("--name", default="overload", help="of the JSON file")
    given = parser.parse_args()
    serving.CORES = (given.cores[0], given.cores[1])
    shape = {"layers": given.layers, "width": given.width, "context": given.context}
    sources = {"this version": HERE.parent / "src"} | ({} if given.source is None else {"other version": given.source})
    found: dict[str, Any] = {
        "command": f"python benchmarks/serving_overload.py {' '.join(sys.argv[1:])}".strip(), "agent": shape,
        "cores": os.cpu_count(), "windows": {name: [] for name in sources},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        model = Path("/tmp/exp/ov/agent.onnx") if os.environ.get("OVMODEL") else make_agent(Path(folder), **shape)
        for _ in range(given.rounds):
            for name, source in sources.items():
                one = window(model, source, given)
                found["windows"][name].append(one)
                over = one["overload"]
                print(
                    f"{name}: capacity {one['capacity']}, offered {one['offered_share']}, goodput {one['goodput']} or "
                    f"{one['goodput_of_processor_time']} by processor time, answered {over.get('ms')}, refused "
                    f"{over.get('refused_ms')}, {over['statuses']}, generator {over['generator']}, server busy "
                    f"{one['server_busy']}, load {one['load_average']}",
                    flush=True,
                )
                time.sleep(0.5)
    for name, windows in found["windows"].items():
        print(f"{name}: goodput {statistics.mean(one['goodput'] for one in windows):.3f} of capacity")
    (RESULTS / f"{given.name}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
