"""How fast tasks are learned: steps and seconds to a threshold on one core, then fresh episodes; one row per task and trunk.

    taskset -c 1 python benchmarks/learn.py [--only tmaze50 ...] [--seeds 0 1 2] [--trunk transformer gru]

Each finished run is a JSON file in benchmarks/results/learn/, and is not run again: the program can be interrupted. The
settings are those of version 0.1's presets (version_01.py); `one_default.py` measures the default.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

import seqel
from measured import commit
from seqel.environments.resolve import resolve
from seqel.tasks.shuffled_objects import ShuffledObjects
from version_01 import PRESETS

RESULTS = Path(__file__).parent / "results" / "learn"


class HiddenVelocities(gym.ObservationWrapper[np.ndarray, int, np.ndarray]):
    """CartPole without its two velocities: position and angle only."""

    def __init__(self) -> None:
        super().__init__(gym.make("CartPole-v1"))
        low, high = self.env.observation_space.low[[0, 2]], self.env.observation_space.high[[0, 2]]  # type: ignore[attr-defined]
        self.observation_space = gym.spaces.Box(low, high, dtype=np.float32)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return observation[[0, 2]]


class Scaled(gym.RewardWrapper[Any, Any]):
    """Rewards times a factor."""

    def __init__(self, env: str, factor: float) -> None:
        super().__init__(resolve(env)())
        self.factor = factor

    def reward(self, reward: Any) -> float:
        return float(reward) * self.factor


OBJECTS: dict[str, Any] = {
    "steps": 40_000, "validation.every": 1_000, "network.width": 64, "replay.batch_tokens": 416, "replay.replay_ratio": 16.0,
}  # fmt: skip

# name: (environment, preset of version 0.1, settings, threshold of the mean return, episodes reported)
TASKS: dict[str, tuple[str | Callable[[], gym.Env[Any, Any]], str, dict[str, Any], float, int]] = {
    "tmaze50": ("seqel/TMaze50-v0", "default", {"steps": 150_000, "validation.every": 2_500}, 0.99, 100),
    "tmaze100": ("seqel/TMaze100-v0", "default", {"steps": 300_000, "validation.every": 5_000}, 0.99, 100),
    "tmaze250": ("seqel/TMaze250-v0", "default", {"steps": 1_000_000, "validation.every": 10_000}, 0.99, 100),
    "tmaze500": ("seqel/TMaze500-v0", "default", {"steps": 3_000_000, "validation.every": 20_000}, 0.99, 100),
    "cartpole-hidden": (HiddenVelocities, "default", {"steps": 100_000, "validation.every": 5_000}, 490.0, 100),
    "cartpole": ("CartPole-v1", "control", {"steps": 50_000, "validation.every": 5_000}, 495.0, 100),
    "acrobot": ("Acrobot-v1", "control", {"steps": 100_000, "validation.every": 5_000}, -75.0, 100),
    "acrobot-memoryless": (
        "Acrobot-v1", "control",  # 64 trained transitions per step, half of the zoo's DQN (128)
        {
            "steps": 100_000, "validation.every": 5_000, "memoryless": True, "objective.lambda_": 0.5,
            "replay.replay_ratio": 64.0,
        }, -75.0, 100,
    ),
    "memory-s7": ("MiniGrid-MemoryS7-v0", "search", {"steps": 400_000, "validation.every": 10_000}, 0.94, 200),
    "repeat-previous-medium": (
        "popgym-RepeatPreviousMedium-v0", "immediate", {"steps": 400_000, "validation.every": 10_000}, 0.98, 100,
    ),
    "count-recall-easy": (
        "popgym-CountRecallEasy-v0", "immediate", {"steps": 3_000_000, "validation.every": 50_000}, 0.93, 100,
    ),
    "tmaze50-rewards-x0.01": (
        lambda: Scaled("seqel/TMaze50-v0", 0.01), "default", {"steps": 150_000, "validation.every": 2_500}, 0.0099, 100,
    ),
    "tmaze50-rewards-x100": (
        lambda: Scaled("seqel/TMaze50-v0", 100.0), "default", {"steps": 150_000, "validation.every": 2_500}, 99.0, 100,
    ),
    "cartpole-hidden-refreshed": (  # the keys of open episodes are recomputed after every update, instead of kept
        HiddenVelocities, "default", {"steps": 100_000, "validation.every": 5_000, "refresh_every": 1}, 490.0, 100,
    ),
    "tmaze100-refreshed": (
        "seqel/TMaze100-v0", "default", {"steps": 300_000, "validation.every": 5_000, "refresh_every": 1}, 0.99, 100,
    ),
    "tmaze100-bf16-compiled": (
        "seqel/TMaze100-v0", "default",
        {"steps": 300_000, "validation.every": 5_000, "learner.precision": "bf16", "learner.compile": "on"}, 0.99, 100,
    ),
    "cartpole-hidden-bf16-compiled": (
        HiddenVelocities, "default",
        {"steps": 100_000, "validation.every": 5_000, "learner.precision": "bf16", "learner.compile": "on"}, 490.0, 100,
    ),
    "car-flag": ("seqel/CarFlag-v0", "default", {"steps": 300_000, "validation.every": 5_000}, 0.95, 100),
    "memory-cards": (  # only the card named now matters; a hit is rare and has to be sampled often
        "seqel/MemoryCards-v0", "immediate",
        {
            "steps": 400_000, "validation.every": 10_000, "objective.discount": 0.0, "replay.priority_exponent": 0.6,
            "replay.batch_tokens": 416, "replay.replay_ratio": 8.0, "network.value": "hl-gauss", "network.bins": 21,
            "network.value_range": 1.5,
        }, -6.5, 100,
    ),
    **{
        name: (  # only the last action counts, and it is answered at once; five steps per episode: many small updates
            env, "immediate",
            {
                "steps": 40_000, "validation.every": 1_000, "objective.discount": 0.0, "replay.batch_tokens": 416,
                "replay.replay_ratio": 32.0,
            }, 0.99, 500,
        )
        for name, env in (
            ("combination-lock", "seqel/CombinationLock-v0"),
            ("combination-lock-flat", "seqel/FlatCombinationLock-v0"),  # one action for each of the 125 combinations
        )
    },
    "shuffled-objects": ("seqel/ShuffledObjects-v0", "default", OBJECTS, 0.95, 200),
    "shuffled-objects-flat": (lambda: ShuffledObjects(flat=True), "default", OBJECTS, 0.95, 200),  # one vector
    "cartpole-hidden-context-16": (  # 500 steps are more than ten times what a layer reaches back
        HiddenVelocities, "default",
        {"steps": 100_000, "validation.every": 5_000, "network.context": 16}, 490.0, 100,
    ),
}  # fmt: skip


def run(name: str, trunk: str, seed: int) -> dict[str, Any]:
    """Train until the threshold is confirmed (or the steps are done), then play fresh episodes."""
    env, preset, settings, threshold, episodes = TASKS[name]
    settings = {
        **PRESETS[preset],
        **settings,
        "threads": 1,
        "device": "cpu",
        "network.trunk": trunk,
        "validation.threshold": threshold,
        "validation.stop": True,
        "checkpoint_every": 0,
    }
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        agent = seqel.train(env, seed=seed, out=out, settings=settings, progress=False)
        summary = json.loads((out / "summary.json").read_text())
    result = seqel.evaluate(agent, env, episodes, seed=10_000)
    return {
        "task": name,
        "trunk": trunk,
        "seed": seed,
        "preset": preset,
        "mean": result.mean,
        "interval": result.interval,
        "success": result.success,
        "episodes": episodes,
        "steps": summary["steps"],
        "seconds": summary["seconds"],
        "updates": summary["updates"],
        "steps_to_threshold": summary.get("steps_to_threshold"),
        "seconds_to_threshold": summary.get("seconds_to_threshold"),
        "parameters": sum(p.numel() for p in agent.network.parameters()),
        "commit": commit(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "gymnasium": gym.__version__},
        "threads": 1,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--trunk", nargs="+", choices=["transformer", "gru"], default=["transformer", "gru"])
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        for trunk in args.trunk:
            for seed in args.seeds:
                path = RESULTS / f"{name}-{trunk}-seed{seed}.json"
                if not path.exists():
                    path.write_text(json.dumps(run(name, trunk, seed), indent=1) + "\n")
                found = json.loads(path.read_text())
                success = "" if found["success"] is None else f"  success {found['success']:.0%}"
                print(
                    f"{name:<28}{trunk:<13}seed {seed}  mean {found['mean']:9.3f}{success}  "
                    f"{found['steps']:>9,} steps {found['seconds']:6.0f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
