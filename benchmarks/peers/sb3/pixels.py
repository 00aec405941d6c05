"""Baseline of a peer: Stable-Baselines3 DQN on a MinAtar game for a given time, with the settings of MinAtar's authors.

The network and settings are those of Young & Tian 2019 (arXiv:1903.03176): one convolution of 16 3x3 filters, 128 units,
an update each step. Writes one JSON with the learning curve. Runs in its own environment; nothing of Seqel is imported.

    taskset -c 1 benchmarks/peers/sb3/.venv/bin/python benchmarks/peers/sb3/pixels.py --seconds 1800 --seed 0 --json OUT
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from dqn import processor
from minatar.gym import register_envs
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

SETTINGS: dict[str, Any] = {
    "learning_rate": 2.5e-4,
    "batch_size": 32,
    "buffer_size": 100_000,
    "learning_starts": 5_000,
    "gamma": 0.99,
    "target_update_interval": 1_000,
    "train_freq": 1,
    "gradient_steps": 1,
    "exploration_final_eps": 0.1,
}
EPSILON_STEPS = 100_000
PLAN = 5_000_000  # the authors' number of frames; time ends the run before
FINAL_SEEDS = [10_000 + n for n in range(100)]
CURVE_SEEDS = [20_000 + n for n in range(20)]


class Planes(gym.ObservationWrapper[Any, Any, Any]):
    """Bool planes as float32, channels first, as torch's convolutions expect them."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        height, width, channels = env.observation_space.shape  # type: ignore[misc]
        self.observation_space = gym.spaces.Box(0.0, 1.0, (channels, height, width), np.float32)

    def observation(self, observation: Any) -> Any:
        return np.ascontiguousarray(observation.transpose(2, 0, 1), np.float32)


class Convolution(BaseFeaturesExtractor):
    """The authors' network up to its last layer."""

    def __init__(self, space: gym.spaces.Box) -> None:
        super().__init__(space, 128)
        channels, height, width = space.shape
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(channels, 16, 3), torch.nn.ReLU(), torch.nn.Flatten(),
            torch.nn.Linear(16 * (height - 2) * (width - 2), 128), torch.nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layers(x)
        return out


def returns(model: DQN, name: str, seeds: list[int]) -> list[float]:
    """Undiscounted return of one greedy episode for each seed, cut after 10,000 steps."""
    env, found = Planes(gym.make(name)), []
    for seed in seeds:
        observation, _ = env.reset(seed=seed)
        total, over, steps = 0.0, False, 0
        while not over and steps < 10_000:
            action, _ = model.predict(observation, deterministic=True)
            observation, reward, terminated, truncated, _ = env.step(int(action))
            total, over, steps = total + float(reward), terminated or truncated, steps + 1
        found.append(total)
    return found


class Clock(BaseCallback):
    """Evaluates every `every` seconds of training and ends it after `seconds`; evaluation time does not count."""

    def __init__(self, name: str, seconds: float, every: float) -> None:
        super().__init__()
        self.name, self.limit, self.every = name, seconds, every
        self.looking, self.began, self.next = 0.0, time.perf_counter(), every
        self.curve: list[dict[str, float]] = []

    @property
    def trained(self) -> float:
        return time.perf_counter() - self.began - self.looking

    def _on_step(self) -> bool:
        if self.trained >= self.next:
            seconds, at = self.trained, time.perf_counter()
            mean = statistics.fmean(returns(self.model, self.name, CURVE_SEEDS))
            self.curve.append({"seconds": seconds, "steps": self.num_timesteps, "mean": mean})
            self.looking += time.perf_counter() - at
            self.next += self.every
            print(f"{self.name}: {self.num_timesteps:,} steps {seconds:.0f} s  mean return {mean:.2f}", flush=True)
        return self.trained < self.limit


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--env", default="MinAtar/Breakout-v1")
    parser.add_argument("--seconds", type=float, default=1800.0, help="of training")
    parser.add_argument("--every", type=float, default=120.0, help="seconds between evaluations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    register_envs()
    model = DQN(
        "MlpPolicy", Planes(gym.make(options.env)), seed=options.seed, device="cpu", **SETTINGS,
        exploration_fraction=EPSILON_STEPS / PLAN,
        policy_kwargs={"features_extractor_class": Convolution, "net_arch": []},
    )  # fmt: skip
    clock = Clock(options.env, options.seconds, options.every)
    model.learn(PLAN, callback=clock)
    seconds = clock.trained
    final = returns(model, options.env, FINAL_SEEDS)
    record = {
        "peer": "stable-baselines3 DQN", "env": options.env, "seed": options.seed, "mean": statistics.fmean(final),
        "returns": final, "steps": model.num_timesteps, "seconds": seconds, "steps_per_s": model.num_timesteps / seconds,
        "curve": clock.curve, "settings": {**SETTINGS, "epsilon_steps": EPSILON_STEPS}, "cpu": processor(),
        "torch_threads": 1, "versions": {name: version(name) for name in ("stable_baselines3", "torch", "minatar")},
    }  # fmt: skip
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{options.env}: {record['mean']:.2f} after {record['steps']:,} steps", flush=True)


if __name__ == "__main__":
    main()
