"""A peer offline: d3rlpy's DiscreteCQL, DiscreteBCQ and DiscreteBC on recorded data of mixed quality.

Reads the `.npz` files of `benchmarks/offline_data.py` (their `flat` vectors), trains, and plays 100 fresh episodes of the
true environment greedily. One JSON a run; a finished run is not run again, so the program can be interrupted.

    offline.py check --data DATA                        the same environments? replays recorded episodes, step by step
    offline.py tune --data DATA --out OUT               the small tuning, seed 0
    offline.py chosen --data DATA --out OUT --seeds 1 2 3 4   the settings that the tuning chose, further seeds
    offline.py best --out OUT                           best.json and a table

d3rlpy's networks see one observation, or the last k stacked, the missing ones before an episode's start zeros.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import d3rlpy
import gymnasium as gym
import minigrid  # noqa: F401 (registers its environments)
import numpy as np
import torch
from d3rlpy.dataset import TransitionMiniBatch
from scipy import stats

ROOT = Path(__file__).resolve().parents[3]
REPORT_SEEDS = [10_000 + n for n in range(100)]  # the figures
CHOICE_SEEDS = [20_000 + n for n in range(50)]  # the tuning: never reported from
STEPS = 20_000
VALIDATE_EVERY = 5_000
SETTLED = 10_000  # a setting is chosen by its validations from here on: a single validation is too noisy
SIDE_BY_SIDE = 25

COMMON = {"learning_rate": 3e-4, "batch_size": 64, "gamma": 0.99}
OFF_POLICY = {**COMMON, "target_update_interval": 100}
ALGORITHMS: dict[str, tuple[Any, dict[str, Any], str, tuple[float, ...]]] = {  # config, settings, what is tuned, values
    "cql": (d3rlpy.algos.DiscreteCQLConfig, OFF_POLICY, "alpha", (0.3, 1.0, 4.0)),
    "bcq": (d3rlpy.algos.DiscreteBCQConfig, OFF_POLICY, "action_flexibility", (0.1, 0.3)),
    "bc": (d3rlpy.algos.DiscreteBCConfig, COMMON, "beta", (0.5,)),
}


class HiddenVelocities(gym.ObservationWrapper):
    """CartPole with only position and angle observed."""

    def __init__(self) -> None:
        super().__init__(gym.make("CartPole-v1"))
        space = self.env.observation_space
        self.observation_space = gym.spaces.Box(space.low[[0, 2]], space.high[[0, 2]], dtype=np.float32)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return observation[[0, 2]]


def tmaze20() -> gym.Env:
    """The T-Maze of length 20: the only thing taken from this repository, its rules."""
    sys.path.insert(0, str(ROOT / "src"))
    from seqel.tasks.memory import PassiveTMaze

    return PassiveTMaze(20)


# task: (environment, stacks of the tuning, stacks given as a further row: the whole history in one input)
TASKS: dict[str, tuple[Any, tuple[int, ...], tuple[int, ...]]] = {
    "cartpole": (lambda: gym.make("CartPole-v1"), (1,), ()),
    "acrobot": (lambda: gym.make("Acrobot-v1"), (1,), ()),
    "cartpole-hidden": (HiddenVelocities, (4,), ()),
    "tmaze20": (tmaze20, (4,), (21,)),
    "memory-s7": (lambda: gym.make("MiniGrid-MemoryS7-v0"), (4,), ()),
}


def vector(observation: Any) -> np.ndarray:
    """One observation as in the data's `flat`: MiniGrid's direction and image codes one-hot, numbers as they are."""
    if not isinstance(observation, dict):
        return np.asarray(observation, np.float32).reshape(-1)
    image = observation["image"]
    hot = [np.arange(4) == observation["direction"]]
    hot += [(image[..., n, None] == np.arange(codes)).reshape(-1) for n, codes in enumerate((11, 6, 3))]
    return np.concatenate(hot).astype(np.float32)


class Data:
    """A task's recorded episodes, and the columns of `flat` that vary at all (a one-hot has many that never do)."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as arrays:
            self.flat, self.length = arrays["flat"], arrays["length"]
            self.action, self.reward = arrays["action"], arrays["reward"]
            self.terminated, self.seed = arrays["terminated"], arrays["seed"]
        self.end = np.cumsum(self.length)
        varies = self.flat.max(axis=0) > self.flat.min(axis=0)
        self.columns = np.flatnonzero(varies)
        hot = np.isin(self.flat[:, varies], (-1.0, 0.0, 1.0)).all()
        kept = self.flat[:, varies]
        self.shift = np.zeros(kept.shape[1], np.float32) if hot else kept.mean(axis=0)
        self.scale = np.ones(kept.shape[1], np.float32) if hot else kept.std(axis=0)

    def prepare(self, flat: np.ndarray) -> np.ndarray:
        """(..., F) -> (..., columns that vary), standardised where they are no codes."""
        return (flat[..., self.columns] - self.shift) / self.scale

    def raw(self, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Observations (T + 1, F), actions and rewards of episode n."""
        last, size = self.end[n], self.length[n]
        return (
            self.flat[last - size + n : last + n + 1],
            self.action[last - size : last],
            self.reward[last - size : last],
        )

    def batches(self, stack: int, size: int, seed: int) -> Iterator[TransitionMiniBatch]:
        """Transitions drawn evenly, as d3rlpy's `fit` draws them, in the form that its `update` takes.

        Made here because `fit` stacks them one by one, and has no place for the last observation of an episode that was
        cut off.
        """
        rng = np.random.default_rng(seed)
        frames = np.concatenate([self.prepare(self.flat), np.zeros((1, len(self.columns)), np.float32)])
        episode = np.repeat(np.arange(len(self.length)), self.length)
        now = np.arange(len(episode)) + episode  # the observation each transition begins with
        first = (self.end - self.length + np.arange(len(self.length)))[episode]
        last = np.zeros(len(episode), np.float32)
        last[self.end - 1] = self.terminated
        action = self.action.astype(np.float32)[:, None]
        back = np.arange(stack)[::-1]

        def history(index: np.ndarray, begin: np.ndarray) -> np.ndarray:
            """(B, stack * F): the observations up to `index`, oldest first, zeros before the episode's first."""
            wanted = index[:, None] - back
            return frames[np.where(wanted < begin[:, None], -1, wanted)].reshape(len(index), -1)

        while True:
            drawn = rng.integers(len(episode), size=size)
            following = np.minimum(drawn + 1, len(episode) - 1)
            yield TransitionMiniBatch(
                observations=history(now[drawn], first[drawn]),
                actions=action[drawn],
                rewards=self.reward[drawn, None].astype(np.float32),
                next_observations=history(now[drawn] + 1, first[drawn]),
                next_actions=action[following],  # used by none of the three
                terminals=last[drawn, None],
                intervals=np.ones((size, 1), np.float32),
                transitions=[],
            )


def returns(make: Any, algorithm: Any, data: Data, stack: int, seeds: list[int]) -> list[float]:
    """Undiscounted return of one greedy episode for each seed, several side by side."""
    width = len(data.columns)
    totals = np.zeros(len(seeds))
    for begin in range(0, len(seeds), SIDE_BY_SIDE):
        part = seeds[begin : begin + SIDE_BY_SIDE]
        envs = [make() for _ in part]
        history = np.zeros((len(part), stack, width), np.float32)
        for n, (env, seed) in enumerate(zip(envs, part, strict=True)):
            history[n, -1] = data.prepare(vector(env.reset(seed=seed)[0]))
        live = list(range(len(part)))
        while live:
            actions = algorithm.predict(history[live].reshape(len(live), -1))
            still = []
            for n, action in zip(live, actions, strict=True):
                observation, reward, terminated, truncated, _ = envs[n].step(int(action))
                totals[begin + n] += float(reward)
                history[n, :-1] = history[n, 1:].copy()
                history[n, -1] = data.prepare(vector(observation))
                if not (terminated or truncated):
                    still.append(n)
            live = still
    return totals.tolist()


def interval(values: list[float]) -> list[float]:
    """95 % bootstrap interval of the mean."""
    drawn = np.random.default_rng(0).choice(values, (10_000, len(values))).mean(axis=1)
    return np.quantile(drawn, (0.025, 0.975)).tolist()


def run(task: str, data: Data, name: str, value: float, stack: int, seed: int) -> dict[str, Any]:
    """Train and evaluate one setting."""
    make = TASKS[task][0]
    config, common, tuned, _ = ALGORITHMS[name]
    d3rlpy.seed(seed)
    settings = {**common, tuned: value}
    algorithm = config(**settings).create(device="cpu:0")
    algorithm.create_impl((len(data.columns) * stack,), int(data.action.max()) + 1)
    curve: list[dict[str, Any]] = []
    batches = data.batches(stack, settings["batch_size"], seed)
    start, worked, seconds = time.perf_counter(), 0.0, 0.0
    for done in range(VALIDATE_EVERY, STEPS + 1, VALIDATE_EVERY):
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(VALIDATE_EVERY):
            algorithm.update(next(batches))
        seconds, worked = seconds + time.perf_counter() - wall, worked + time.process_time() - cpu
        report = returns(make, algorithm, data, stack, REPORT_SEEDS)
        choice = returns(make, algorithm, data, stack, CHOICE_SEEDS)
        curve.append({"steps": done, "mean": float(np.mean(report)), "choice_mean": float(np.mean(choice))})
    best_point = max(curve, key=lambda point: point["choice_mean"])
    settled = [point["choice_mean"] for point in curve if point["steps"] >= SETTLED]
    return {
        "peer": "d3rlpy " + type(algorithm).__name__,
        "task": task,
        "algorithm": name,
        "tuned": {tuned: value, "stack": stack},
        "seed": seed,
        "mean": float(np.mean(report)),
        "interval": interval(report),
        "best_checkpoint": best_point,
        "choice_mean": float(np.mean(settled)),
        "curve": curve,
        "returns": report,
        "train_seconds": seconds,
        "train_cpu_seconds": worked,
        "seconds": time.perf_counter() - start,
        "gradient_steps": STEPS,
        "settings": {**settings, "encoder": "[256, 256]", "inputs": len(data.columns) * stack},
        "evaluation": "greedy; mean: the last weights, seeds 10000-10099; choice_mean: validations from 10,000 steps, "
        "20000-20049",
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in ("d3rlpy", "torch", "gymnasium", "minigrid", "numpy")},
        },
        "cpu": processor(),
        "torch_threads": torch.get_num_threads(),
    }


def processor() -> str:
    """Model name of the processor, for the record of a timing."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def grid(task: str, further: bool = False) -> list[tuple[str, float, int]]:
    """(algorithm, tuned value, stack) of the tuning; further: of the row with the whole history."""
    stacks = TASKS[task][2 if further else 1]
    return [(name, value, stack) for name in ALGORITHMS for stack in stacks for value in ALGORITHMS[name][3]]


def finished(out: Path, task: str) -> list[dict[str, Any]]:
    """The records of a task."""
    return [json.loads(path.read_text()) for path in sorted(out.glob(f"{task}--*.json"))]


def key(record: dict[str, Any]) -> tuple[str, float, int]:
    """(algorithm, tuned value, stack) of a record."""
    tuned = ALGORITHMS[record["algorithm"]][2]
    return record["algorithm"], record["tuned"][tuned], record["tuned"]["stack"]


def choose(out: Path, task: str, name: str, further: bool) -> tuple[str, float, int] | None:
    """The setting with the best mean over the tuning's seed, on the episodes kept for the choice."""
    offered = [setting for setting in grid(task, further) if setting[0] == name]
    records = [found for found in finished(out, task) if found["seed"] == 0 and key(found) in offered]
    if not offered or len(records) < len(offered):
        return None
    return key(max(records, key=lambda found: found["choice_mean"]))


def do(out: Path, task: str, data: Data, settings: list[tuple[str, float, int]], seeds: list[int]) -> None:
    """Run the settings that have no result yet."""
    for seed in seeds:
        for name, value, stack in settings:
            path = out / f"{task}--{name}-{value:g}-stack{stack}-seed{seed}.json"
            if path.exists():
                continue
            record = run(task, data, name, value, stack, seed)
            lines = ",\n".join(f" {json.dumps(field)}: {json.dumps(content)}" for field, content in record.items())
            path.write_text("{\n" + lines + "\n}\n")
            print(f"{path.stem:<50} mean {record['mean']:9.3f}  {record['seconds']:5.0f} s", flush=True)


def check(task: str, data: Data) -> None:
    """Replay the first 20 recorded episodes here: the observations and rewards must be the recorded ones."""
    env = TASKS[task][0]()
    for n in range(20):
        flat, action, reward = data.raw(n)
        seen = [vector(env.reset(seed=int(data.seed[n]))[0])]
        earned = []
        for step in action:
            observation, got, terminated, truncated, _ = env.step(int(step))
            seen.append(vector(observation))
            earned.append(got)
        if not (terminated or truncated) or terminated != data.terminated[n]:
            raise SystemExit(f"{task}: episode {n} does not end as recorded")
        np.testing.assert_allclose(np.stack(seen), flat, atol=1e-5)
        np.testing.assert_allclose(earned, reward, atol=1e-5)
    print(f"{task}: 20 episodes replayed, {len(data.columns)} inputs that vary of {data.flat.shape[1]}")


def best(out: Path) -> None:
    """Report the chosen setting of each task and algorithm, over its seeds."""
    rows = []
    for task in TASKS:
        for further in (False, True):
            for name in ALGORITHMS:
                chosen = choose(out, task, name, further)
                if chosen is None:
                    continue
                records = [found for found in finished(out, task) if key(found) == chosen]
                means = [found["mean"] for found in sorted(records, key=lambda found: found["seed"])]
                spread = (
                    stats.t.interval(0.95, len(means) - 1, np.mean(means), stats.sem(means))
                    if len(set(means)) > 1
                    else None
                )
                rows.append(
                    {
                        "task": task,
                        "algorithm": name,
                        "whole_history": further,
                        "tuned": records[0]["tuned"],
                        "mean": float(np.mean(means)),
                        "interval_over_seeds": None if spread is None else [float(bound) for bound in spread],
                        "means": means,
                        "best_checkpoint_mean": float(np.mean([found["best_checkpoint"]["mean"] for found in records])),
                        "seeds": sorted(found["seed"] for found in records),
                    }
                )
                print(
                    f"{task:<16} {name:<4} {'whole history ' if further else ''}{records[0]['tuned']}  "
                    f"mean {np.mean(means):.3f} over {len(means)} seeds {[round(mean, 2) for mean in means]}, "
                    f"best checkpoints {rows[-1]['best_checkpoint_mean']:.3f}"
                )
    (out / "best.json").write_text(json.dumps(rows, indent=1) + "\n")


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["check", "tune", "chosen", "best"])
    parser.add_argument("--data", type=Path, default=ROOT / "runs" / "offline-data")
    parser.add_argument("--data-seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "offline" / "peers")
    parser.add_argument("--only", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", nargs="+", type=int, default=None)
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    if args.what == "best":
        best(args.out)
        return
    for task in args.only:
        data = Data(args.data / f"{task}-seed{args.data_seed}.npz")
        if args.what == "check":
            check(task, data)
        elif args.what == "tune":
            do(args.out, task, data, grid(task) + grid(task, further=True), args.seeds or [0])
        else:
            picked = [choose(args.out, task, name, further) for further in (False, True) for name in ALGORITHMS]
            do(args.out, task, data, [found for found in picked if found is not None], args.seeds or [1, 2, 3, 4])


if __name__ == "__main__":
    main()
