"""Baseline of a peer: time per update and per greedy action of the public DTQN code (Esslinger et al. 2022).

Imports a checkout that the user made outside this repository (github.com/kevslinger/DTQN, MIT; nothing of it is
copied here), builds its agent with its own constructor at the shapes asked for, and prints one JSON object with
medians. Runs in its own environment (see the README beside the folder); nothing of Seqel is imported.

    taskset -c 1 benchmarks/peers/dtqn/.venv/bin/python benchmarks/peers/dtqn/time_update.py --checkout PATH
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import time
import types
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = ["fill", "load_agent", "main", "measure", "milliseconds", "processor"]

EPISODE = 200  # steps, as in the peer's CarFlag


def processor() -> str:
    """Model name of the processor, for the record of a timing."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def commit_of(checkout: Path) -> str | None:
    """Commit of the checkout, or None where git cannot tell."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return None


def make_environment(seed: int) -> Any:
    """A stand-in with CarFlag's shapes (3 floats, 3 actions, 200 steps), so that no display library is needed."""
    import gym
    import numpy as np

    class Shapes(gym.Env):  # type: ignore[misc]
        """Random observations; the peer's older interface (reset gives the observation, step gives four values)."""

        max_episode_steps = EPISODE

        def __init__(self) -> None:
            self.observation_space = gym.spaces.Box(-1.0, 1.0, shape=(3,), dtype=np.float32)
            self.action_space = gym.spaces.Discrete(3)
            self.generator = np.random.default_rng(seed)
            self.steps = 0

        def seed(self, seed: int) -> None:
            self.generator = np.random.default_rng(seed)

        def observation(self) -> Any:
            return self.generator.uniform(-1.0, 1.0, size=3)

        def reset(self) -> Any:
            self.steps = 0
            return self.observation()

        def step(self, action: int) -> tuple[Any, float, bool, dict[str, Any]]:
            self.steps += 1
            done = self.steps >= EPISODE
            return self.observation(), float(done) * (action - 1), done, {}

    return Shapes()


def load_agent(options: argparse.Namespace) -> tuple[Any, Any]:
    """The peer's agent at the shapes asked for, and the environment it was built on."""
    sys.dont_write_bytecode = True  # leave the checkout as it was
    sys.path.insert(0, str(options.checkout))
    # The checkout imports wandb beside its averages; a timing needs none of it, and no network program either.
    sys.modules.setdefault("wandb", types.ModuleType("wandb"))
    import torch
    from utils.agent_utils import get_agent  # the checkout's
    from utils.random import set_global_seed

    torch.set_num_threads(options.threads)  # before its first operation; numpy has no work for threads here
    environment = make_environment(options.seed)
    set_global_seed(options.seed, environment)
    # Every value not asked for is the default of the checkout's own command line.
    agent = get_agent(
        "DTQN",
        [environment],
        embed_per_obs_dim=8,
        action_dim=0,
        inner_embed=options.width,
        buffer_size=500_000,
        device=torch.device("cpu"),
        learning_rate=3e-4,
        batch_size=options.batch,
        context_len=options.context,
        max_env_steps=EPISODE,
        history=options.context,
        target_update_frequency=10_000,
        gamma=0.99,
        num_heads=options.heads,
        num_layers=options.layers,
        dropout=0.0,
        identity=False,
        gate="res",
        pos="learned",
        bag_size=0,
    )
    agent.eval_off()
    return agent, environment


def fill(agent: Any, environment: Any, steps: int, act: Callable[[], int]) -> None:
    """Play whole episodes until `steps` are stored, then part of one, so that the acting context is full."""
    taken = 0
    while taken < steps:
        agent.context_reset(environment.reset())
        done = False
        while not done:
            action = act()
            observation, reward, done, _ = environment.step(action)
            agent.observe(observation, action, reward, done)
            taken += 1
        agent.replay_buffer.flush()
    agent.context_reset(environment.reset())
    for _ in range(agent.context_len + 10):
        action = act()
        observation, reward, done, _ = environment.step(action)
        agent.observe(observation, action, reward, done)


def milliseconds(function: Callable[[], Any], repeats: int, warmup: int) -> tuple[list[float], list[float]]:
    """Wall and processor time of each of `repeats` calls in ms, each sorted, after `warmup` calls not counted.

    The two agree on an idle core; where others share it, only the processor time is the program's own.
    """
    for _ in range(warmup):
        function()
    wall, cpu = [], []
    for _ in range(repeats):
        start, cpu_start = time.perf_counter(), time.process_time()
        function()
        cpu.append((time.process_time() - cpu_start) * 1e3)
        wall.append((time.perf_counter() - start) * 1e3)
    return sorted(wall), sorted(cpu)


def quantile(times: list[float], q: float) -> float:
    """The q-quantile of sorted times, nearest rank."""
    return times[min(len(times) - 1, int(q * len(times)))]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Build, fill and time; the record that is printed."""
    agent, environment = load_agent(options)
    import numpy as np
    import torch

    generator = np.random.default_rng(options.seed)
    fill(agent, environment, options.prepopulate, lambda: int(generator.integers(3)))

    updates_before = agent.num_train_steps
    update, update_cpu = milliseconds(agent.train, options.updates, warmup=5)
    if agent.num_train_steps - updates_before != options.updates + 5:
        raise RuntimeError(f"expected {options.updates + 5} updates, the agent counts {agent.num_train_steps}")
    agent.policy_network.eval()
    act, act_cpu = milliseconds(lambda: agent.get_action(epsilon=0.0), options.acts, warmup=20)
    agent.policy_network.train()

    def loop_step() -> None:
        """One step as the checkout's loop does it: act, step, store, update; inside an episode."""
        action = agent.get_action(epsilon=0.0)
        observation, reward, done, _ = environment.step(action)
        agent.observe(observation, action, reward, done)
        agent.train()

    loop, loop_cpu = milliseconds(loop_step, options.loop_steps, warmup=2)
    parameters = sum(p.numel() for p in agent.policy_network.parameters() if p.requires_grad)
    return {
        "peer": "DTQN",
        "source": "github.com/kevslinger/DTQN",
        "commit": commit_of(options.checkout),
        "update_ms": quantile(update, 0.5),
        "update_cpu_ms": quantile(update_cpu, 0.5),
        "update_ms_p10_p90": [quantile(update, 0.1), quantile(update, 0.9)],
        "act_ms": quantile(act, 0.5),
        "act_cpu_ms": quantile(act_cpu, 0.5),
        "act_ms_p10_p90": [quantile(act, 0.1), quantile(act, 0.9)],
        "loop_steps_per_s": 1e3 / quantile(loop, 0.5),
        "loop_steps_per_cpu_s": 1e3 / quantile(loop_cpu, 0.5),
        "updates": len(update),
        "acts": len(act),
        "shapes": {
            "context": options.context,
            "width": options.width,
            "layers": options.layers,
            "heads": options.heads,
            "batch": options.batch,
            "observation": 3,
            "actions": 3,
            "dtype": str(next(agent.policy_network.parameters()).dtype).removeprefix("torch."),
        },
        "parameters": parameters,
        "stored_steps": options.prepopulate,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "numpy", "gym")},
        },
        "cpu": processor(),
        "torch_threads": torch.get_num_threads(),
    }


def parse() -> argparse.Namespace:
    """The command line, checked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--checkout",
        type=Path,
        default=os.environ.get("DTQN_CHECKOUT"),
        help="folder of a DTQN checkout (or the environment variable DTQN_CHECKOUT)",
    )
    defaults = {"context": 50, "width": 128, "layers": 2, "heads": 8, "batch": 32}
    counts = {"updates": 60, "acts": 500, "loop-steps": 20, "prepopulate": 50_000, "threads": 1}
    for name, value in {**defaults, **counts}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the object to this file")
    options = parser.parse_args()
    if options.checkout is None or not (Path(options.checkout) / "dtqn" / "agents" / "dtqn.py").is_file():
        parser.error(f"--checkout (or DTQN_CHECKOUT) must be the folder of a DTQN checkout, got {options.checkout}")
    options.checkout = Path(options.checkout).resolve()
    for name in (*defaults, *(count.replace("-", "_") for count in counts)):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {getattr(options, name)}")
    if options.prepopulate < (options.batch + 2) * EPISODE:
        parser.error(f"--prepopulate must hold more episodes of {EPISODE} steps than --batch {options.batch}")
    if options.context > EPISODE - 80 - options.loop_steps:
        parser.error(f"--context plus --loop-steps must stay inside one episode of {EPISODE} steps")
    return options


def main() -> None:
    """Standard output carries the JSON alone; what the checkout prints goes to standard error."""
    options = parse()
    warnings.filterwarnings("ignore")
    with contextlib.redirect_stdout(sys.stderr):
        record = measure(options)
    text = json.dumps(record, indent=1)
    print(text)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
