"""Baseline of a peer: Stable-Baselines3 DQN with the tuned settings of rl-baselines3-zoo.

Trains on plain CartPole-v1 or Acrobot-v1 and writes one JSON: the returns of the final greedy policy on 100 fresh
episodes, of the best checkpoint on the same episodes, and the learning curve. Runs in its own environment (see the
README beside the folder); nothing of Seqel is imported.

    benchmarks/peers/sb3/.venv/bin/python benchmarks/peers/sb3/dqn.py --env CartPole-v1 --seed 0 --json OUT
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import BaseCallback

__all__ = ["SETTINGS", "CurveCallback", "episode_returns", "main", "processor", "run"]

ZOO = "DLR-RM/rl-baselines3-zoo, hyperparams/dqn.yml at 22e3ff2450fd92033f7f032915e1f64894a09584 (MIT)"

# The values the zoo names as tuned; steps are the zoo's n_timesteps. One environment, MlpPolicy, as there.
SETTINGS: dict[str, dict[str, Any]] = {
    "CartPole-v1": {
        "steps": 50_000,
        "learning_rate": 2.3e-3,
        "batch_size": 64,
        "buffer_size": 100_000,
        "learning_starts": 1_000,
        "gamma": 0.99,
        "target_update_interval": 10,
        "train_freq": 256,
        "gradient_steps": 128,
        "exploration_fraction": 0.16,
        "exploration_final_eps": 0.04,
        "policy_kwargs": {"net_arch": [256, 256]},
    },
    "Acrobot-v1": {
        "steps": 100_000,
        "learning_rate": 6.3e-4,
        "batch_size": 128,
        "buffer_size": 50_000,
        "learning_starts": 0,
        "gamma": 0.99,
        "target_update_interval": 250,
        "train_freq": 4,
        "gradient_steps": -1,
        "exploration_fraction": 0.12,
        "exploration_final_eps": 0.1,
        "policy_kwargs": {"net_arch": [256, 256]},
    },
}

FINAL_SEEDS = [10_000 + n for n in range(100)]  # the reported figures
CURVE_SEEDS = [20_000 + n for n in range(20)]  # the curve and the choice of the best checkpoint: never reported from


def episode_returns(model: DQN, env_id: str, seeds: list[int]) -> list[float]:
    """Undiscounted return of one greedy episode for each seed; draws nothing from the training's random state."""
    env = gym.make(env_id)
    returns = []
    for seed in seeds:
        observation, _ = env.reset(seed=seed)
        total, over = 0.0, False
        while not over:
            action, _ = model.predict(observation, deterministic=True)
            observation, reward, terminated, truncated, _ = env.step(int(action))
            total += float(reward)
            over = terminated or truncated
        returns.append(total)
    env.close()
    return returns


class CurveCallback(BaseCallback):
    """Evaluates at every tenth of the steps and keeps the weights of the best checkpoint (the later one on a tie)."""

    def __init__(self, env_id: str, steps: int) -> None:
        super().__init__()
        self.env_id = env_id
        self.every = max(1, steps // 10)
        self.curve: list[dict[str, Any]] = []
        self.best: tuple[float, int, dict[str, Any]] | None = None
        self.seconds = 0.0  # spent on evaluation, so that it can be taken off the training time

    def _on_step(self) -> bool:
        if self.num_timesteps % self.every:
            return True
        start = time.perf_counter()
        returns = episode_returns(self.model, self.env_id, CURVE_SEEDS)
        mean = statistics.fmean(returns)
        self.curve.append({"steps": self.num_timesteps, "mean": mean, "returns": returns})
        if self.best is None or mean >= self.best[0]:
            self.best = (mean, self.num_timesteps, copy.deepcopy(self.model.policy.state_dict()))
        self.seconds += time.perf_counter() - start
        print(f"{self.env_id} step {self.num_timesteps}: mean return {mean:.1f}", flush=True)
        return True


def processor() -> str:
    """Model name of the processor, for the record of a timing."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def summary(returns: list[float]) -> dict[str, Any]:
    """Mean and spread beside the returns themselves."""
    return {"mean": statistics.fmean(returns), "std": statistics.pstdev(returns), "returns": returns}


def run(env_id: str, steps: int, seed: int) -> dict[str, Any]:
    """Train for `steps` environment steps (rounded up to the collection length), evaluate, return the record."""
    settings = {key: value for key, value in SETTINGS[env_id].items() if key != "steps"}
    model = DQN("MlpPolicy", gym.make(env_id), seed=seed, device="cpu", verbose=0, **settings)
    callback = CurveCallback(env_id, steps)
    start = time.perf_counter()
    model.learn(total_timesteps=steps, callback=callback)
    learn_seconds = time.perf_counter() - start
    final = summary(episode_returns(model, env_id, FINAL_SEEDS))
    best = None
    if callback.best is not None:
        validation, at, weights = callback.best
        model.policy.load_state_dict(weights)
        best = {"steps": at, "validation_mean": validation, **summary(episode_returns(model, env_id, FINAL_SEEDS))}
    return {
        "peer": "stable-baselines3 DQN",
        "env": env_id,
        "seed": seed,
        "steps": steps,
        "steps_taken": model.num_timesteps,
        **final,
        "best_checkpoint": best,
        "curve": callback.curve,
        "train_seconds": learn_seconds - callback.seconds,
        "seconds": time.perf_counter() - start,
        "settings": settings,
        "settings_source": ZOO,
        "evaluation": "greedy; final and best checkpoint on seeds 10000-10099, curve on seeds 20000-20019",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("stable-baselines3", "gymnasium", "torch", "numpy")},
        },
        "cpu": processor(),
        "torch_threads": torch.get_num_threads(),
    }


def main() -> None:
    """Read the command line, run, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--env", required=True, choices=sorted(SETTINGS))
    parser.add_argument("--steps", type=int, default=None, help="environment steps; the zoo's n_timesteps if left out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, required=True, help="file to write")
    options = parser.parse_args()
    steps = SETTINGS[options.env]["steps"] if options.steps is None else options.steps
    if steps < 10:
        parser.error(f"--steps must be at least 10 (ten checkpoints), got {steps}")
    torch.set_num_threads(1)
    record = run(options.env, steps, options.seed)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in record.items())
    options.json.write_text("{\n" + lines + "\n}\n")  # one key a line: small, and a change shows in a diff
    best = record["best_checkpoint"]
    print(
        f"{record['env']} seed {record['seed']}: final {record['mean']:.1f}, best checkpoint {best['mean']:.1f}, "
        f"{record['train_seconds']:.0f} s of training"
    )


if __name__ == "__main__":
    main()
