"""Our update and acting step compared with those of the public DTQN code, on one core, with the same shapes.

    taskset -c 1 python benchmarks/update_vs_dtqn.py --checkout FOLDER [--json OUT]

FOLDER is a clone of github.com/kevslinger/DTQN; benchmarks/peers/README.md says how to make its environment.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from seqel.profiling.timing import Shapes, machine, time_act, time_update
from seqel.training.hardware.allocator import keep_freed_memory

HERE = Path(__file__).parent
SHAPES = Shapes(width=128, layers=2, heads=8, context=50, batch=32, observation=3, actions=3, steps=50_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", help="a clone of the peer; without it only ours is timed")
    parser.add_argument("--compile", action="store_true", help="torch.compile our update and our step")
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32")
    parser.add_argument("--updates", type=int, default=100)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as a run does

    shapes = replace(SHAPES, compile=args.compile, precision=args.precision)
    result: dict[str, Any] = {
        "shapes": {name: getattr(shapes, name) for name in ("context", "width", "layers", "heads", "batch")},
        **machine(),
        "compiled": args.compile,
        "precision": args.precision,
    }
    peers, ours = [], []
    for _ in range(3):  # in turn, so that other load on the machine affects both
        ours.append(time_update(shapes, args.updates // 3))
        if args.checkout:
            program = HERE / "peers/dtqn/time_update.py"
            python = HERE / "peers/dtqn/.venv/bin/python"
            done = subprocess.run(
                [str(python), str(program), "--checkout", args.checkout], check=True, capture_output=True, text=True
            )
            peers.append(json.loads(done.stdout))
    result["update_ms"] = statistics.median(found["ms"] for found in ours)
    result["share_of_peak"] = statistics.median(found["share_of_peak"] for found in ours)
    for rows in (1, 16, 32):
        result[f"act_ms_a_call_{rows}"] = time_act(replace(shapes, envs=rows))["ms"]
    result["act_ms_an_action_16"] = result["act_ms_a_call_16"] / 16
    if peers:
        result["dtqn_update_ms"] = statistics.median(p["update_ms"] for p in peers)
        result["dtqn_act_ms"] = statistics.median(p["act_ms"] for p in peers)
        result["update_ratio"] = result["dtqn_update_ms"] / result["update_ms"]
        result["act_ratio_16"] = result["dtqn_act_ms"] / result["act_ms_an_action_16"]
    text = json.dumps(result, indent=2)
    print(text)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
