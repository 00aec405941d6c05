"""What compression saves and costs: int8 for a larger network, and trained agents at a quarter of their parameters.

    python benchmarks/compress.py speed                    6 layers, width 256, context 128, random weights (a minute)
    python benchmarks/compress.py TASK [--seed 0]          train, compress, compare: tmaze, repeat-previous, memory-s7
    python benchmarks/compress.py report                   the table of what was measured

Results are JSON files in benchmarks/results/compress/; what is there is not measured again. Trainings are in --runs, and
continue where they stopped: --limit ends one after so many seconds, saved.
"""

from __future__ import annotations

import argparse
import json
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from measured import commit, measured, show, train_or_resume
from seqel.agents.agent import Agent
from seqel.compression.compressing import compress
from seqel.compression.distilling import DistillationConfig
from seqel.compression.measuring import agreement, latencies
from seqel.compression.quantising import quantise
from seqel.compression.tape import Tape, TapeStep, decisions
from seqel.deployment.export import export
from seqel.deployment.runtime import ExportedAgent
from seqel.profiling.timing import Shapes, machine
from seqel.spaces import FlatObservation
from seqel.training.record import Record

RESULTS = Path(__file__).parent / "results" / "compress"
LARGE = Shapes(width=256, layers=6, heads=8, context=128, observation=8, actions=6)
FRESH = 10_000  # the seed of the first fresh episode

# the environment, its arguments, the most steps, and the return at which training stops
TASKS: dict[str, tuple[str, dict[str, Any], int, float]] = {
    "tmaze": ("seqel/TMaze-v0", {"length": 50}, 150_000, 0.99),
    "repeat-previous": ("popgym-RepeatPreviousMedium-v0", {}, 100_000, 0.97),
    "memory-s7": ("MiniGrid-MemoryS7-v0", {}, 300_000, 0.93),
}


def random_tape(steps: int, rows: int = 16) -> Tape:
    """Return random observations, rewards and actions of one long episode per row."""
    rng = np.random.default_rng(0)
    return [
        TapeStep(
            FlatObservation({"observation": rng.uniform(-1, 1, (rows, LARGE.observation)).astype(np.float32)}),
            rng.standard_normal(rows).astype(np.float32),
            np.full(rows, step == 0),
            rng.integers(0, LARGE.actions, (rows, 1)),
            None,
            np.arange(rows),
            rng.integers(0, LARGE.actions, (rows, 1)),
        )
        for step in range(steps)
    ]


def speed() -> dict[str, Any]:
    """Measure sizes and latencies of a larger network with random weights, which they do not depend on."""
    network = LARGE.network()
    torch.nn.init.normal_(network.head.get_parameter("advantage.weight"))
    agent, tape = Agent(network), random_tape(160)
    with tempfile.TemporaryDirectory() as folder:
        plain = export(agent, Path(folder) / "agent.onnx")
        small = quantise(plain, Path(folder) / "agent-int8.onnx")
        sizes = {"onnx": plain.stat().st_size, "int8": small.stat().st_size}
        others = {"onnx": ExportedAgent(plain), "int8": ExportedAgent(small)}
    ms = latencies({"torch": agent, **others}, tape, LARGE.context)
    wanted = decisions(agent, tape)
    same = {name: agreement(tape, decisions(one, tape), wanted)[0] for name, one in others.items()}
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "bytes": sizes,
        "size_ratio": sizes["int8"] / sizes["onnx"],
        "ms": ms,
        "latency_ratio": ms["int8"] / ms["torch"],
        "agreement_on_random_weights": same,
        "machine": machine(),
        "commit": commit(),
    }


def trained(name: str, seed: int, runs: Path, limit: float) -> Agent:
    """Train an agent of a task, or continue; raises KeyboardInterrupt, saved, at the limit."""
    env, arguments, steps, threshold = TASKS[name]
    settings = {
        "threads": 1, "device": "cpu", "validation.every": 5_000, "validation.threshold": threshold,
        "validation.stop": True, "env_args": arguments,
    }  # fmt: skip
    began = time.monotonic()

    def watch(record: Record) -> None:
        show(record)
        if time.monotonic() - began > limit:
            signal.raise_signal(signal.SIGINT)  # it writes a checkpoint and ends

    return train_or_resume(runs / f"{name}-{seed}", env, steps=steps, seed=seed, settings=settings, progress=watch)


def task(name: str, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """Train, compress to a quarter, and return the table."""
    env, arguments, _, _ = TASKS[name]
    agent = trained(name, seed, given.runs, given.limit)
    from seqel.environments.resolve import resolve

    began = time.perf_counter()
    found = compress(
        agent, resolve(env, **arguments), episodes=given.episodes, seed=FRESH,
        distillation=DistillationConfig(updates=given.updates, steps=given.steps),
        progress=_printed(),
    )  # fmt: skip
    rows = found.as_json()
    return rows | {"task": name, "seconds": time.perf_counter() - began, "updates": given.updates, "commit": commit()}


def _printed() -> Any:
    last = [0.0]

    def tell(share: float, note: str) -> None:
        if time.monotonic() - last[0] > 15.0:
            last[0] = time.monotonic()
            print(f"  {share:.0%} {note}", flush=True)

    return tell


def report() -> None:
    """Print what was measured."""
    for path in sorted(RESULTS.glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        if "variants" not in found:
            print(
                f"{path.stem}: int8 {found['size_ratio']:.3f} of the size, {found['latency_ratio']:.3f} of the latency"
            )
            continue
        print(f"{path.stem}: {found['shape']}, {found['seconds']:.0f} s")
        for row in found["variants"]:
            torch_ms, onnx_ms = (f"{row[key]:.2f}" if row[key] else "-" for key in ("torch_ms", "onnx_ms"))
            drop = row["drop"]
            print(
                f"  {row['name']:<16}{row['parameters']:>9,}{row['bytes'] / 1024:>8,.0f} KiB{torch_ms:>7}{onnx_ms:>7} ms  "
                f"return {row['mean']:.3f}, agrees {row['agreement']:.2%}, drop {drop['value']:.2%} "
                f"({drop['low']:.2%} to {drop['high']:.2%})"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", *TASKS, "report"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--updates", type=int, default=2_000)
    parser.add_argument("--steps", type=int, default=40_000)
    parser.add_argument("--limit", type=float, default=3_600.0, help="seconds of training in this call")
    parser.add_argument("--runs", type=Path, default=Path("runs/compress"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "report":
        report()
    elif given.what == "speed":
        print(measured(RESULTS / "speed.json", False, speed))
    else:
        measured(RESULTS / f"{given.what}-{given.seed}.json", False, lambda: task(given.what, given.seed, given))
        report()


if __name__ == "__main__":
    main()
