"""Recorded data of mixed quality from simulators: 30 % of the transitions random play, 70 % a half-trained agent's.

    taskset -c 0 python benchmarks/offline_data.py [--only cartpole ...] [--seed 0] [--out runs/offline-data]

A task makes `TASK-seedN.npz`, which any tool can read, and facts about it as `TASK-seedN.json`; existing files are not made
again. The half-trained agent is the first whose validation return is 35 % to 70 % of the way from random play to a solved
task; it plays greedily except for one action in ten, which is random. In a T-Maze such an agent would not be useful (an agent
that only walks right is half way, and never gets a reward): there the half-trained agents are the first four that answer one
of the two cues correctly.

The arrays, for E episodes of N transitions in total (so N + E observations, including each episode's final one):
    observation/LEAF (N + E, ...)   one per leaf of the observation space
    flat (N + E, F) float32         the same for programs that need vectors
    action (N,) int64, reward (N,) float32
    behaviour_prob (N,) float32     with which the policy of that episode chose the action
    length (E,) int64, terminated (E,) bool (else truncated), source (E,) int8: 0 random, 1 half-trained; seed (E,) int64
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

import seqel
from learn import HiddenVelocities
from measured import commit
from seqel.agents.agent import Agent
from seqel.environments.resolve import resolve
from seqel.environments.vector import VectorStream, make_vector
from seqel.spaces import ActionSpec, FlatObservation, ObservationSpec
from version_01 import PRESETS

TRANSITIONS = 50_000
RANDOM_SHARE = 0.3
EPSILON = 0.1  # of the half-trained agent's actions
SIDE_BY_SIDE = 16
RANDOM, HALF_TRAINED = 0, 1
FIRST_SEED = {RANDOM: 1_000_000, HALF_TRAINED: 2_000_000}  # of the recorded episodes; 10_000 + n are for the reports
CHOICE_SEED = 500_000  # of the episodes that say whether an agent is half-trained


@dataclass(frozen=True)
class Task:
    """The criteria for the half-trained agent of a task."""

    env: str | Callable[[], gym.Env[Any, Any]]
    preset: str  # of version 0.1, in which the data were made
    solved: float  # mean return of a solved agent
    settings: dict[str, Any] = field(default_factory=dict)
    band: tuple[float, float] = (0.35, 0.70)  # of the way from random play to solved
    agents: int = 1  # how many half-trained ones share the recorded transitions evenly


TASKS = {
    "cartpole": Task("CartPole-v1", "control", 500.0, {"steps": 50_000, "validation.every": 500}),
    "acrobot": Task("Acrobot-v1", "control", -75.0, {"steps": 100_000, "validation.every": 1_000}),
    "cartpole-hidden": Task(HiddenVelocities, "default", 500.0, {"steps": 100_000, "validation.every": 500}),
    "tmaze20": Task(
        "seqel/TMaze20-v0", "default", 1.0, {"steps": 100_000, "validation.every": 500}, band=(0.68, 0.82), agents=4
    ),
    "memory-s7": Task("MiniGrid-MemoryS7-v0", "search", 0.97, {"steps": 400_000, "validation.every": 5_000}),
}


@dataclass(frozen=True)
class Played:
    """One recorded episode of T transitions."""

    observation: dict[str, NDArray[Any]]  # leaves (T + 1, ...)
    action: NDArray[np.int64]  # (T,)
    reward: NDArray[np.float32]
    probability: NDArray[np.float32]
    terminated: bool
    seed: int

    @property
    def earned(self) -> float:
        """The return of the episode."""
        return float(self.reward.sum(dtype=np.float64))


def record(
    env: str | Callable[[], gym.Env[Any, Any]],
    agent: Agent | None,
    transitions: int,
    seed: int,
    rng: np.random.Generator,
) -> list[Played]:
    """Record episodes number 0, 1, 2, ... (reset with seed + number) until they hold `transitions`; agent None: random play.

    Episodes are taken by their number, not by when they end, so that short ones are not over-represented.
    """
    envs = make_vector(resolve(env), SIDE_BY_SIDE)
    spec = ObservationSpec.from_space(envs.single_observation_space)
    actions = ActionSpec.from_space(envs.single_action_space)
    stream = VectorStream(envs, spec, actions)
    number = np.arange(SIDE_BY_SIDE)
    stream.reset([seed + n for n in range(SIDE_BY_SIDE)])
    steps: list[dict[str, list[Any]]] = [_open(stream.current, row) for row in range(SIDE_BY_SIDE)]
    done: dict[int, Played] = {}
    state, action, reward = None, None, np.zeros(SIDE_BY_SIDE, np.float32)
    total, counted = 0, 0
    while total < transitions:
        chance = np.full(SIDE_BY_SIDE, 1.0 / actions.actions)
        drawn = rng.integers(actions.actions, size=SIDE_BY_SIDE)
        if agent is not None:
            before: NDArray[np.int64] | None = None if action is None else action + actions.start[0]
            decision, state = agent.act(
                stream.current, state, reward=reward, first=stream.first, previous_action=before
            )
            greedy = decision.action - actions.start[0]
            drawn = np.where(rng.random(SIDE_BY_SIDE) < EPSILON, drawn, greedy)
            chance = EPSILON * chance + (1.0 - EPSILON) * (drawn == greedy)
        action = drawn
        outcome = stream.step(action)
        reward = outcome.reward.astype(np.float32)
        for row in range(SIDE_BY_SIDE):
            kept = steps[row]
            for path, leaf in outcome.reached.items():
                kept["observation/" + path].append(leaf[row].copy())
            for name, value in (("action", action), ("reward", reward), ("probability", chance)):
                kept[name].append(value[row])
        if not outcome.ended.any():
            continue
        for row in np.flatnonzero(outcome.ended).tolist():
            done[int(number[row])] = _close(steps[row], bool(outcome.terminated[row]), seed + int(number[row]))
            number[row] = number.max() + 1
        while counted in done:
            total += len(done[counted].action)
            counted += 1
        stream.reset(
            [seed + int(n) if over else None for n, over in zip(number, outcome.ended, strict=True)], outcome.ended
        )
        for row in np.flatnonzero(outcome.ended).tolist():
            steps[row] = _open(stream.current, row)
        reward[outcome.ended] = 0.0
    envs.close()
    played, held = [], 0
    for n in range(counted):
        if held < transitions:
            played.append(done[n])
            held += len(done[n].action)
    return played


def _open(current: FlatObservation, row: int) -> dict[str, list[Any]]:
    leaves: dict[str, list[Any]] = {"observation/" + path: [leaf[row].copy()] for path, leaf in current.items()}
    return leaves | {"action": [], "reward": [], "probability": []}


def _close(steps: dict[str, list[Any]], terminated: bool, seed: int) -> Played:
    return Played(
        observation={name: np.stack(values) for name, values in steps.items() if name.startswith("observation/")},
        action=np.array(steps["action"], np.int64),
        reward=np.array(steps["reward"], np.float32),
        probability=np.array(steps["probability"], np.float32),
        terminated=terminated,
        seed=seed,
    )


def half_trained(task: Task, random: float, folder: Path) -> tuple[list[Agent], dict[str, Any]]:
    """Return the first agents in the band; each is trained with another seed until it reaches the band's lower end."""
    low, high = (random + part * (task.solved - random) for part in task.band)
    found: list[Agent] = []
    tried: list[dict[str, Any]] = []
    for seed in range(40):
        out = folder / f"seed{seed}"
        shutil.rmtree(out, ignore_errors=True)
        settings = {
            **PRESETS[task.preset],
            **task.settings,
            "threads": 1,
            "device": "cpu",
            "checkpoint_every": 0,
            "validation.threshold": low,
            "validation.stop": True,
            "validation.episodes": 16,
            "validation.confirm": 16,
        }
        agent = seqel.train(task.env, seed=seed, out=out, settings=settings, progress=False)
        steps = json.loads((out / "summary.json").read_text())["steps"]
        mean = seqel.evaluate(agent, task.env, 100, seed=CHOICE_SEED).mean
        tried.append({"seed": seed, "steps": steps, "mean": mean, "kept": low <= mean <= high})
        print(f"  seed {seed}: {steps:,} steps, greedy mean {mean:.3f}, band {low:.3f} to {high:.3f}", flush=True)
        if tried[-1]["kept"]:
            found.append(agent)
        if len(found) == task.agents:
            return found, {"band": [low, high], "tried": tried}
    raise SystemExit(f"too few seeds stopped inside the band {low:.3f} to {high:.3f}: {tried}")


def vectors(observation: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    """(steps, F): a MiniGrid's codes one-hot and its direction, numbers as they are; its text is left out."""
    parts: list[NDArray[Any]] = []
    for name in sorted(observation):
        leaf = observation[name]
        if name == "observation/image":
            for channel, codes in enumerate((11, 6, 3)):  # object, colour, state
                hot = leaf[..., channel, None] == np.arange(codes, dtype=np.uint8)
                parts.append(hot.reshape(len(leaf), -1))
        elif name == "observation/direction":
            parts.append(leaf.reshape(len(leaf), 1) == np.arange(4))
        elif name != "observation/mission":
            parts.append(leaf.reshape(len(leaf), -1))
    return np.concatenate(parts, axis=1).astype(np.float32)


def make(name: str, seed: int, out: Path) -> dict[str, Any]:
    """Record one task's data, write the arrays, return the facts."""
    task = TASKS[name]
    begun = time.perf_counter()
    rng = np.random.default_rng(seed)
    first = {source: start + seed * 100_000 for source, start in FIRST_SEED.items()}
    random = record(task.env, None, int(TRANSITIONS * RANDOM_SHARE), first[RANDOM], rng)
    base = float(np.mean([episode.earned for episode in random]))
    agents, how = half_trained(task, base, out / "agents" / f"{name}-seed{seed}")
    share = (TRANSITIONS - int(TRANSITIONS * RANDOM_SHARE)) // len(agents)
    half: list[Played] = []
    for n, agent in enumerate(agents):
        half += record(task.env, agent, share, first[HALF_TRAINED] + n * 20_000, rng)
    greedy = [seqel.evaluate(agent, task.env, 100, seed=10_000).mean for agent in agents]
    mixed = [(episode, RANDOM) for episode in random] + [(episode, HALF_TRAINED) for episode in half]
    mixed = [mixed[n] for n in rng.permutation(len(mixed))]
    episodes = [episode for episode, _ in mixed]
    observation = {leaf: np.concatenate([e.observation[leaf] for e in episodes]) for leaf in episodes[0].observation}
    arrays = {
        **observation,
        "flat": vectors(observation),
        "action": np.concatenate([e.action for e in episodes]),
        "reward": np.concatenate([e.reward for e in episodes]),
        "behaviour_prob": np.concatenate([e.probability for e in episodes]),
        "length": np.array([len(e.action) for e in episodes], np.int64),
        "terminated": np.array([e.terminated for e in episodes]),
        "source": np.array([source for _, source in mixed], np.int8),
        "seed": np.array([e.seed for e in episodes], np.int64),
    }
    np.savez_compressed(out / f"{name}-seed{seed}.npz", allow_pickle=False, **arrays)
    return {
        "task": name,
        "data_seed": seed,
        "transitions": len(arrays["action"]),
        "episodes": len(episodes),
        "random": _say(random),
        "half_trained": _say(half) | {"epsilon": EPSILON, "greedy_means": greedy, **how},
        "mixture": _say(episodes),
        "solved_mean": task.solved,
        "actions": np.bincount(arrays["action"]).tolist(),
        "arrays": {key: [list(value.shape), str(value.dtype)] for key, value in arrays.items()},
        "first_seeds": {"random": first[RANDOM], "half_trained": first[HALF_TRAINED], "greedy": 10_000},
        "seconds": time.perf_counter() - begun,
        "commit": commit(),
        "versions": {"torch": torch.__version__, "gymnasium": gym.__version__, "numpy": np.__version__},
    }  # fmt: skip


def _say(episodes: list[Played]) -> dict[str, Any]:
    returns = np.array([episode.earned for episode in episodes])
    return {
        "mean": float(returns.mean()),
        "quantiles_5_50_95": np.quantile(returns, (0.05, 0.5, 0.95)).tolist(),
        "episodes": len(episodes),
        "transitions": sum(len(episode.action) for episode in episodes),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seed", type=int, default=0, help="of the data")
    parser.add_argument("--out", type=Path, default=Path("runs/offline-data"))
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        path = args.out / f"{name}-seed{args.seed}.json"
        if not path.exists():
            path.write_text(json.dumps(make(name, args.seed, args.out), indent=1) + "\n")
        facts = json.loads(path.read_text())
        half = facts["half_trained"]
        print(
            f"{name:<16} {facts['transitions']:,} transitions, {facts['episodes']:,} episodes; mean return: random "
            f"{facts['random']['mean']:.3f}, half-trained {half['mean']:.3f} (greedy {np.mean(half['greedy_means']):.3f}), "
            f"mixture {facts['mixture']['mean']:.3f}, solved {facts['solved_mean']:g}",
            flush=True,
        )


if __name__ == "__main__":
    main()
