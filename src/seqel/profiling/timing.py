"""Measures the speed of the parts on this machine: an update, an acting step, sampling. Median wall times.

Nothing here trains: experience is random numbers of the right shapes, so a figure depends on the shapes alone.
"""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch

from seqel.agents.agent import Agent
from seqel.deployment.export import export
from seqel.deployment.runtime import ExportedAgent
from seqel.errors import ConfigError
from seqel.losses.config import ObjectiveConfig
from seqel.networks.config import NetworkConfig, TrunkName
from seqel.networks.qnetwork import QNetwork
from seqel.replay.buffer import Replay
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.training.config import LearnerConfig
from seqel.training.hardware.allocator import WARMUP_UPDATES, settle_memory
from seqel.training.hardware.compilation import gflop
from seqel.training.hardware.threads import cores_by_affinity
from seqel.training.learner import Learner
from seqel.types import Episode

__all__ = ["Shapes", "machine", "time_act", "time_replay", "time_update"]

WARM = 5  # untimed calls first (they include compilation)


@dataclass(frozen=True, slots=True)
class Shapes:
    """The sizes and options of what is timed."""

    width: int = 64
    layers: int = 2
    heads: int = 4
    context: int = 50  # also the window's length
    batch: int = 32  # windows per update
    envs: int = 16  # rows per acting step
    observation: int = 4  # numbers per observation
    actions: int = 4
    steps: int = 100_000  # transitions in the replay
    trunk: TrunkName = "transformer"
    precision: Literal["float32", "bf16"] = "float32"
    compile: bool = False
    priority: float = 0.0  # exponent of prioritised sampling
    backend: Literal["torch", "onnxruntime"] = "torch"  # of acting
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("batch", "envs", "observation", "actions", "context"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.steps < 2 * self.context:
            raise ConfigError(f"steps: expected at least two windows, {2 * self.context}, got {self.steps}")

    @property
    def observations(self) -> ObservationSpec:
        """A space of numbers between -1 and 1."""
        return ObservationSpec.from_space(gym.spaces.Box(-1.0, 1.0, (self.observation,), np.float32))

    def network(self) -> QNetwork:
        """Return a new network, always with the same weights."""
        torch.manual_seed(0)
        config = NetworkConfig(
            trunk=self.trunk, width=self.width, layers=self.layers, heads=self.heads, context=self.context
        )
        return QNetwork(config, self.observations, ActionSpec((self.actions,), (0,))).to(self.device)

    def replay(self) -> Replay:
        """Return a replay full of random episodes as long as the context."""
        rng = np.random.default_rng(0)
        replay = Replay(
            self.observations.storage,
            2 * self.steps,
            actions=self.actions,
            priority_exponent=self.priority,
            context=self.context,
        )
        for _ in range(self.steps // self.context):
            replay.add(
                Episode(
                    {"observation": rng.uniform(-1, 1, (self.context + 1, self.observation)).astype(np.float32)},
                    rng.integers(0, self.actions, (self.context, 1)),
                    rng.standard_normal(self.context).astype(np.float32),
                    terminated=True,
                )
            )
        return replay


def time_update(shapes: Shapes, repeats: int = 50) -> dict[str, Any]:
    """Time sampling and updating: `ms` per update, GFLOP of its matrix products, and their speed next to the core's peak."""
    network, replay = shapes.network(), shapes.replay()
    config = LearnerConfig(
        learning_rate=1e-3, target_rate=0.01, compile="on" if shapes.compile else "off", precision=shapes.precision
    )
    learner = Learner(network, ObjectiveConfig(0.99, lambda_=0.0), config)
    rng = np.random.default_rng(1)
    began = time.perf_counter()

    def update() -> None:
        learner.update(
            replay.sample(shapes.batch, window=shapes.context, context=shapes.context, discount=0.99, rng=rng)
        )

    update()
    _wait(shapes.device)
    first = time.perf_counter() - began
    settle_memory(WARMUP_UPDATES, shapes.device)
    ms = _median(update, repeats, shapes.device)
    found: dict[str, Any] = {
        "ms": ms,
        "updates_per_s": 1e3 / ms,
        "seconds_to_the_first": first,
        "parameters": sum(p.numel() for p in network.parameters()),
        "memory_bytes": _memory(learner, replay, shapes),
        "shapes": asdict(shapes),
    }
    if learner.network.trunk.compiles:  # other trunks do not spend their time in matrix products
        work = gflop(network.config, shapes.batch, shapes.context)
        peak = _peak(shapes)
        found |= {"gflop": work, "gflop_per_s": 1e3 * work / ms, "peak_gflop_per_s": peak}
        found["share_of_peak"] = found["gflop_per_s"] / peak
    return found


def _memory(learner: Learner, replay: Replay, shapes: Shapes) -> dict[str, int]:
    """Return the bytes of each component of an update; activations are what a forward pass keeps for the backward pass."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    weights = {p.data_ptr() for p in learner.network.parameters()}
    rng = np.random.default_rng(2)
    batch = replay.sample(shapes.batch, window=shapes.context, context=shapes.context, discount=0.99, rng=rng)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = learner.network(batch.to(learner.device))
    activations = sum(size for at, size in kept.items() if at not in weights) + out.q.nbytes
    size = sum(p.nbytes for p in learner.network.parameters())
    states = [value for state in learner.optimizer.state.values() for value in state.values()]
    return {
        "weights": size,
        "target": size,
        "gradients": size,
        "optimizer": sum(value.nbytes for value in states if isinstance(value, torch.Tensor)),
        "activations": activations,
        "replay": replay.nbytes,
    }


def time_act(shapes: Shapes, repeats: int = 300) -> dict[str, Any]:
    """Time `Agent.act` for one row per environment with full memory; and, for comparison, recomputing the whole window."""
    agent = Agent(shapes.network())
    acting = _exported(agent) if shapes.backend == "onnxruntime" else agent
    if shapes.compile:
        agent.network.compile_step(shapes.envs)
    rng = np.random.default_rng(2)
    reward = np.zeros(shapes.envs, np.float32)
    observation = rng.uniform(-1, 1, (shapes.envs, shapes.observation)).astype(np.float32)
    state: Any = acting.initial_state(shapes.envs)

    def act() -> None:
        nonlocal state
        _, state = acting.act(observation, state, reward=reward)

    for _ in range(shapes.context):
        act()
    ms = _median(act, repeats, shapes.device)
    replay, rows = shapes.replay(), np.random.default_rng(3)
    window = replay.sample(shapes.envs, window=shapes.context, context=shapes.context, discount=0.99, rng=rows)
    window = window.to(agent.device)

    @torch.inference_mode()
    def recompute() -> None:
        agent.network(window).q[:, -1].argmax(dim=-1)

    again = _median(recompute, max(3, repeats // 20), shapes.device)
    return {
        "ms": ms,
        "steps_per_s": 1e3 * shapes.envs / ms,
        "recomputed_ms": again,
        "ratio_to_recomputing": again / ms,
        "memory_bytes": sum(tensor.nbytes for tensor in agent.initial_state(shapes.envs).memory.values()),
        "shapes": asdict(shapes),
    }


def _exported(agent: Agent) -> ExportedAgent:
    with tempfile.TemporaryDirectory() as folder:
        return ExportedAgent(export(agent, Path(folder) / "agent.onnx"))


def time_replay(shapes: Shapes, repeats: int = 300) -> dict[str, Any]:
    """Time sampling one batch of windows; with priorities, updating them as well."""
    replay, rng = shapes.replay(), np.random.default_rng(1)
    error = rng.exponential(size=(shapes.batch, shapes.context))

    def draw() -> None:
        batch = replay.sample(shapes.batch, window=shapes.context, context=shapes.context, discount=0.99, rng=rng)
        replay.update_priorities(batch, error)

    ms = _median(draw, repeats, "cpu")
    return {"ms": ms, "transitions": len(replay), "bytes": replay.nbytes, "shapes": asdict(shapes)}


def machine() -> dict[str, Any]:
    """Return what the figures depend on besides the shapes."""
    cpu = platform.processor() or platform.machine()
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            cpu = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": cpu,
        "cores": cores_by_affinity(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    }


def _median(call: Callable[[], Any], repeats: int, device: str) -> float:
    """Return the median milliseconds per call."""
    taken = []
    for number in range(WARM + max(1, repeats)):
        began = time.perf_counter()
        call()
        _wait(device)
        if number >= WARM:
            taken.append(1e3 * (time.perf_counter() - began))
    return statistics.median(taken)


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def _peak(shapes: Shapes) -> float:
    """Return the GFLOP/s of this machine's matrix product at the update's largest shape."""
    dtype = torch.bfloat16 if shapes.precision == "bf16" else torch.float32
    rows = shapes.batch * (shapes.context + 1)
    a = torch.randn(rows, shapes.width, device=shapes.device, dtype=dtype)
    b = torch.randn(shapes.width, 4 * shapes.width, device=shapes.device, dtype=dtype)
    ms = _median(lambda: a @ b, 50, shapes.device)
    return 2 * rows * 4 * shapes.width**2 / 1e6 / ms
