"""Baseline of a peer: sb3-contrib RecurrentPPO (LSTM) on one POPGym memory task, for a given time of one core.

Library defaults, eight environments, not tuned: an order of magnitude beside the Q-learners, no more. Runs in its own
environment (see the README beside the folder); nothing of Seqel is imported.

    benchmarks/peers/sb3/.venv/bin/python benchmarks/peers/sb3/recurrent_ppo.py --seconds 240 --seed 0 --json OUT
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import popgym  # noqa: F401  (registers the tasks)
import torch
from dqn import processor
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

__all__ = ["Clock", "episode_returns", "main", "run"]

ENVIRONMENTS = 8


class Clock(BaseCallback):
    """Ends the training when the time is over; records the mean training return every tenth of it."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.limit = seconds
        self.start = time.perf_counter()
        self.curve: list[dict[str, float]] = []

    def _on_step(self) -> bool:
        spent = time.perf_counter() - self.start
        if spent >= self.limit * (len(self.curve) + 1) / 10 and self.model.ep_info_buffer:
            mean = statistics.fmean(float(episode["r"]) for episode in self.model.ep_info_buffer)
            self.curve.append({"seconds": spent, "steps": self.num_timesteps, "training_mean": mean})
            print(f"{spent:.0f} s, step {self.num_timesteps}: mean training return {mean:.3f}", flush=True)
        return spent < self.limit


def episode_returns(model: RecurrentPPO, env_id: str, seeds: list[int]) -> list[float]:
    """Return of one deterministic episode for each seed."""
    env = gym.make(env_id)
    returns = []
    for seed in seeds:
        observation, _ = env.reset(seed=seed)
        state, first, total, over = None, np.ones(1, dtype=bool), 0.0, False
        while not over:
            action, state = model.predict(observation, state=state, episode_start=first, deterministic=True)
            observation, reward, terminated, truncated, _ = env.step(int(action))
            first, total, over = np.zeros(1, dtype=bool), total + float(reward), terminated or truncated
        returns.append(total)
    env.close()
    return returns


def run(env_id: str, seconds: float, seed: int) -> dict[str, Any]:
    """Train for `seconds`, evaluate on 100 fresh episodes, return the record."""
    environments = make_vec_env(lambda: gym.make(env_id), ENVIRONMENTS, seed=seed)
    model = RecurrentPPO("MlpLstmPolicy", environments, seed=seed, device="cpu")
    clock = Clock(seconds)
    cpu_start = time.process_time()
    model.learn(total_timesteps=1_000_000_000, callback=clock)
    cpu_seconds = time.process_time() - cpu_start
    returns = episode_returns(model, env_id, [10_000 + n for n in range(100)])
    return {
        "peer": "sb3-contrib RecurrentPPO",
        "env": env_id,
        "seed": seed,
        "steps_taken": model.num_timesteps,
        "mean": statistics.fmean(returns),
        "std": statistics.pstdev(returns),
        "returns": returns,
        "curve": clock.curve,
        "train_seconds": seconds,
        "train_cpu_seconds": cpu_seconds,
        "settings": f"library defaults, {ENVIRONMENTS} environments",
        "evaluation": "deterministic, seeds 10000-10099",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("sb3-contrib", "stable-baselines3", "popgym", "gymnasium", "torch")},
        },
        "cpu": processor(),
        "torch_threads": torch.get_num_threads(),
    }


def main() -> None:
    """Read the command line, run, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--env", default="popgym-RepeatPreviousMedium-v0")
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, required=True, help="file to write")
    options = parser.parse_args()
    if options.seconds <= 0:
        parser.error(f"--seconds must be positive, got {options.seconds}")
    torch.set_num_threads(1)
    record = run(options.env, options.seconds, options.seed)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in record.items())
    options.json.write_text("{\n" + lines + "\n}\n")  # one key a line
    print(f"{record['env']} seed {record['seed']}: mean {record['mean']:.3f} after {record['steps_taken']} steps")


if __name__ == "__main__":
    main()
