"""One core, the same shapes: our update and our acting step beside the public DTQN code's, back to back, as ratios.

    taskset -c 1 python benchmarks/update_vs_dtqn.py --checkout FOLDER [--json OUT]

FOLDER holds a clone of github.com/kevslinger/DTQN; its environment is made as benchmarks/peers/README.md says.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal

import gymnasium as gym
import numpy as np
import torch

from seqel.agents.agent import Agent
from seqel.data.replay import Replay
from seqel.losses.config import ObjectiveConfig
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.training.allocator import keep_freed_memory
from seqel.training.config import LearnerConfig
from seqel.training.learner import Learner
from seqel.types import Episode

HERE = Path(__file__).parent
CONTEXT, WIDTH, LAYERS, HEADS, BATCH, STEPS = 50, 128, 2, 8, 32, 50_000
OBSERVATION, ACTIONS = 3, 3


def build(compiled: bool, precision: Literal["float32", "bf16"] = "float32") -> tuple[Agent, Learner, Replay]:
    """Our learner at the peer's shapes, with as many recorded steps as it has."""
    torch.manual_seed(0)
    spec = ObservationSpec.from_space(gym.spaces.Box(-1, 1, (OBSERVATION,), np.float32))
    network = QNetwork(
        NetworkConfig(width=WIDTH, layers=LAYERS, heads=HEADS, context=CONTEXT), spec, ActionSpec((ACTIONS,), (0,))
    )
    learner = Learner(network, ObjectiveConfig(0.99, lambda_=0.0), LearnerConfig(compile=compiled, precision=precision))
    replay = Replay(spec.storage, 2 * STEPS, actions=ACTIONS)
    rng = np.random.default_rng(0)
    for _ in range(STEPS // CONTEXT):
        replay.add(
            Episode(
                {"observation": rng.uniform(-1, 1, (CONTEXT + 1, OBSERVATION)).astype(np.float32)},
                rng.integers(0, ACTIONS, (CONTEXT, 1)),
                rng.standard_normal(CONTEXT).astype(np.float32),
                terminated=True,
            )
        )
    return Agent(network), learner, replay


def time_update(learner: Learner, replay: Replay, repeats: int) -> list[float]:
    """Milliseconds of sampling and learning, each."""
    rng = np.random.default_rng(1)
    taken = []
    for n in range(repeats + 5):
        began = time.perf_counter()
        learner.update(replay.sample(BATCH, window=CONTEXT, context=CONTEXT, discount=0.99, rng=rng))
        if n >= 5:
            taken.append(1e3 * (time.perf_counter() - began))
    return taken


def time_act(agent: Agent, rows: int, repeats: int) -> list[float]:
    """Milliseconds a call with `rows` environments, once the ring is full."""
    rng = np.random.default_rng(2)
    state = agent.initial_state(rows)
    taken = []
    for n in range(repeats + CONTEXT):
        observation = rng.uniform(-1, 1, (rows, OBSERVATION)).astype(np.float32)
        began = time.perf_counter()
        _, state = agent.act(observation, state, reward=np.zeros(rows, np.float32))
        if n >= CONTEXT:
            taken.append(1e3 * (time.perf_counter() - began))
    return taken


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

    result: dict[str, object] = {
        "shapes": {"context": CONTEXT, "width": WIDTH, "layers": LAYERS, "heads": HEADS, "batch": BATCH},
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "compiled": args.compile,
        "precision": args.precision,
    }
    peers = []
    agent, learner, replay = build(args.compile, args.precision)
    ours: list[float] = []
    for _ in range(3):  # in turn, so that a machine that is busy for a while is busy for both
        ours += time_update(learner, replay, args.updates // 3)
        if args.checkout:
            program = HERE / "peers/dtqn/time_update.py"
            python = HERE / "peers/dtqn/.venv/bin/python"
            done = subprocess.run(
                [str(python), str(program), "--checkout", args.checkout], check=True, capture_output=True, text=True
            )
            peers.append(json.loads(done.stdout))
    result["update_ms"] = statistics.median(ours)
    for rows in (1, 16, 32):
        if args.compile:
            agent.network.trunk.compile_step(rows)
        result[f"act_ms_a_call_{rows}"] = statistics.median(time_act(agent, rows, 300))
    result["act_ms_an_action_16"] = result["act_ms_a_call_16"] / 16  # type: ignore[operator]
    if peers:
        result["dtqn_update_ms"] = statistics.median(p["update_ms"] for p in peers)
        result["dtqn_act_ms"] = statistics.median(p["act_ms"] for p in peers)
        result["update_ratio"] = result["dtqn_update_ms"] / result["update_ms"]  # type: ignore[operator]
        result["act_ratio_16"] = result["dtqn_act_ms"] / result["act_ms_an_action_16"]  # type: ignore[operator]
    text = json.dumps(result, indent=2)
    print(text)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
