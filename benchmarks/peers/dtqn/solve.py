"""How soon the public DTQN code (Esslinger et al. 2022) solves its own two memory tasks: seconds on this machine.

The checkout's own environments, agent, exploration, replay and loop functions, at its command line's defaults; only the
evaluation is ours (more episodes) and its time is not counted. Runs until the threshold is confirmed on 100 episodes or
until the cap: then the seconds are a lower bound. Writes what it has after every evaluation.

    taskset -c 1 benchmarks/peers/dtqn/.venv/bin/python benchmarks/peers/dtqn/solve.py --task car-flag --json OUT
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
import types
import warnings
from pathlib import Path
from typing import Any

from time_update import commit_of, processor

# name: (module and class in the checkout, its arguments, step limit, success rate or return that counts as solved)
TASKS: dict[str, tuple[str, str, dict[str, Any], int, str, float]] = {
    "car-flag": ("envs.car_flag", "CarFlag", {"discrete": True}, 200, "success", 0.95),
    "memory-cards": ("envs.memory_cards", "Memory", {"num_pairs": 5}, 50, "return", -6.5),
}
STEPS = 2_000_000  # what the checkout plans for; its exploration is annealed over a tenth of them
PREPOPULATE = 50_000


def limited(env: Any, limit: int) -> Any:
    """The checkout's environments with a step limit, in the older interface that its loop speaks."""
    import gym
    import numpy as np

    class Limited(gym.Wrapper):  # type: ignore[misc]
        max_episode_steps = limit

        def __init__(self) -> None:
            super().__init__(env)
            self.taken = 0

        def seed(self, seed: int) -> None:  # what the checkout's own does; its base class has lost the method
            env.np_random = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))

        def reset(self) -> Any:
            self.taken = 0
            return env.reset()

        def step(self, action: int) -> tuple[Any, float, bool, dict[str, Any]]:
            observation, reward, done, info = env.step(action)
            self.taken += 1
            if self.taken >= limit and not done:
                done, info = True, {**info, "TimeLimit.truncated": True}
            return observation, reward, done, info

    return Limited()


def solve(options: argparse.Namespace) -> dict[str, Any]:
    """Train with regular evaluations; the record so far is written after each of them."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(options.checkout))
    for name in ("wandb", "pyglet", "pyglet.canvas", "pyglet.canvas.xlib"):  # logging and rendering: not used here
        sys.modules.setdefault(name, types.ModuleType(name))
    sys.modules["pyglet.canvas.xlib"].NoSuchDisplayException = RuntimeError  # type: ignore[attr-defined]
    import importlib

    import run as peer  # the checkout's loop
    import torch
    from utils import epsilon_anneal
    from utils.agent_utils import get_agent
    from utils.random import set_global_seed

    torch.set_num_threads(1)
    module, name, arguments, limit, measure, threshold = TASKS[options.task]
    make = getattr(importlib.import_module(module), name)
    env, eval_env = limited(make(**arguments), limit), limited(make(**arguments), limit)
    set_global_seed(options.seed, env, eval_env)
    agent = get_agent(
        "DTQN", [env], 8, 0, 128, 500_000, torch.device("cpu"), 3e-4, 32, 50, limit, 50, 10_000, 0.99, 8, 2,
    )  # fmt: skip
    eps = epsilon_anneal.LinearAnneal(1.0, 0.1, STEPS // 10)
    record: dict[str, Any] = {
        "peer": "DTQN", "source": "github.com/kevslinger/DTQN", "commit": commit_of(options.checkout),
        "task": options.task, "seed": options.seed, "threshold": threshold, "measure": measure, "cap_seconds": options.cap,
        "cpu": processor(), "torch_threads": 1, "torch": torch.__version__, "validations": [], "solved": False,
    }  # fmt: skip

    def validate(episodes: int) -> float:
        success, mean, _ = peer.evaluate(agent, eval_env, episodes)
        return float(success if measure == "success" else mean)

    began, outside = time.perf_counter(), 0.0  # seconds of evaluation, which are not training
    peer.prepopulate(agent, PREPOPULATE, (env,))
    agent.eval_off()
    agent.context_reset(env.reset())
    steps = 0
    while True:
        if peer.step(agent, env, eps):
            agent.replay_buffer.flush()
            agent.context_reset(env.reset())
        agent.train()
        eps.anneal()
        steps += 1
        seconds = time.perf_counter() - began - outside
        over = seconds >= options.cap
        if steps % options.every and not over:
            continue
        at = time.perf_counter()
        value = validate(options.episodes)
        if value >= threshold:
            value = validate(100)
            record["solved"] = value >= threshold
        outside += time.perf_counter() - at
        record["validations"].append({"steps": steps, "seconds": seconds, measure: value})
        record |= {"steps": steps, "seconds": seconds, "epsilon": eps.val, "steps_per_s": steps / seconds}
        record["best"] = max(one[measure] for one in record["validations"])
        options.json.write_text(json.dumps(record, indent=1) + "\n")
        print(f"{options.task}: {steps:,} steps {seconds:.0f} s  {measure} {value:.2f}", file=sys.stderr, flush=True)
        if over or record["solved"]:
            return record


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--checkout", type=Path, default=os.environ.get("DTQN_CHECKOUT"))
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cap", type=float, default=3600.0, help="seconds of training")
    parser.add_argument("--every", type=int, default=2_000, help="steps between evaluations")
    parser.add_argument("--episodes", type=int, default=20, help="episodes per evaluation")
    parser.add_argument("--json", type=Path, required=True, help="file for the record")
    options = parser.parse_args()
    if options.checkout is None or not (Path(options.checkout) / "run.py").is_file():
        parser.error(f"--checkout (or DTQN_CHECKOUT) must be the folder of a DTQN checkout, got {options.checkout}")
    options.checkout = Path(options.checkout).resolve()
    warnings.filterwarnings("ignore")
    with contextlib.redirect_stdout(sys.stderr):
        solve(options)


if __name__ == "__main__":
    main()
