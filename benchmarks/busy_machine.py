"""The time of an update while other processes use every core, compared with an idle machine.

    python benchmarks/busy_machine.py [--seconds 2] [--width 64 256] [--bar 3]

Each row is a process of its own, timed alone and then with one busy process per core. `policy` is how OpenMP's threads wait
for each other: its own default (spin), OMP_WAIT_POLICY=PASSIVE, GOMP_SPINCOUNT. The row "default" is what the command line
does. With --bar N the exit code is 1 if that row takes more than N times its idle time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from typing import Any

from seqel.training.hardware.threads import available_cores, choose_threads, wait_passively

POLICIES: dict[str, dict[str, str]] = {
    "spin": {},
    "spin 1000": {"GOMP_SPINCOUNT": "1000"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
}
OWN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
BUSY = "while True: pass"


def child(threads: int, width: int, seconds: float) -> None:
    """Time updates for `seconds` whenever a line is read, and answer with their mean and slowest time."""
    import numpy as np
    import torch

    from seqel.losses.config import ObjectiveConfig
    from seqel.profiling.timing import Shapes
    from seqel.training.config import LearnerConfig
    from seqel.training.learner import Learner

    torch.set_num_threads(threads)
    shapes = Shapes(width=width, steps=5_000)
    replay = shapes.replay()
    learner = Learner(
        shapes.network(),
        ObjectiveConfig(0.99, lambda_=0.0),
        LearnerConfig(learning_rate=1e-3, target_rate=0.01, compile="off"),
    )
    rng = np.random.default_rng(1)
    for line in sys.stdin:
        until = time.perf_counter() + float(line) * seconds
        times: list[float] = []
        while time.perf_counter() < until or not times:
            began = time.perf_counter()
            batch = replay.sample(shapes.batch, window=shapes.context, context=shapes.context, discount=0.99, rng=rng)
            learner.update(batch)
            times.append(1e3 * (time.perf_counter() - began))
        print(json.dumps({"mean": sum(times) / len(times), "slowest": max(times)}), flush=True)


def measure(threads: int, width: int, environment: dict[str, str], seconds: float) -> tuple[dict[str, float], ...]:
    """Time the updates of one process on an idle machine, and with one busy process per core."""
    base = {name: value for name, value in os.environ.items() if name not in OWN}
    command = [sys.executable, __file__, "--child", str(threads), str(width), str(seconds)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=base | environment
    ) as process:
        assert process.stdin is not None and process.stdout is not None

        def ask(share: float) -> Any:
            assert process.stdin is not None and process.stdout is not None
            print(share, file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())

        ask(0.3)  # warm-up
        idle = ask(1.0)
        others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(available_cores())]
        try:
            busy = ask(1.0)
        finally:
            for other in others:
                other.kill()
                other.wait()
            process.stdin.close()
            process.terminate()
    return idle, busy


def main() -> int:
    """Print the table.  -> 1 if the default takes longer than --bar allows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each measurement")
    parser.add_argument("--width", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--bar", type=float, default=0.0)
    parser.add_argument("--only-default", action="store_true")
    arguments = parser.parse_args()
    missed = False
    print(f"{'width':>5} {'threads':>7} {'policy':<10} {'idle ms':>8} {'busy ms':>8} {'slowest':>8} {'ratio':>6}")
    for width in arguments.width:
        default = {"OMP_WAIT_POLICY": "PASSIVE"} if wait_passively({}) else {}
        rows = [("default", choose_threads(width), default)]
        if not arguments.only_default:
            counts = sorted({1, available_cores()})
            rows += [
                (name, count, set_) for count in counts for name, set_ in POLICIES.items() if count > 1 or not set_
            ]
        for name, threads, environment in rows:
            idle, busy = measure(threads, width, environment, arguments.seconds)
            ratio = busy["mean"] / idle["mean"]
            missed |= name == "default" and 0.0 < arguments.bar < ratio
            print(
                f"{width:>5} {threads:>7} {name:<10} {idle['mean']:>8.1f} {busy['mean']:>8.1f} {busy['slowest']:>8.0f} "
                f"{ratio:>6.2f}",
                flush=True,
            )
    return int(missed)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
    else:
        sys.exit(main())
