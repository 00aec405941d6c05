"""Decides whether compiling the update is worthwhile, and compiles it: one graph for every batch size, cached across runs.

The decision is computed from the config, not measured: the same config compiles everywhere or nowhere, so the same seed
gives the same run. Compiling in the background during eager updates would make the moment of the switch random, and with it
the last bits of the weights; so it is not done.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from seqel.errors import ConfigError
from seqel.networks.trunks.registry import trunk_class
from seqel.storage import cache_folder
from seqel.types import SequenceBatch

if TYPE_CHECKING:
    from seqel.networks.config import NetworkConfig
    from seqel.training.config import RunConfig

__all__ = ["can_compile", "compiled", "gflop", "is_worth_compiling", "resolve_compile_mode"]

Result = TypeVar("Result")

# Measured on one core (docs/benchmarks.md): what a compiled update saves per GFLOP of its matrix products, and what
# compiling takes with an empty cache. It must save twice that, because runs are often stopped early.
SAVED_SECONDS_PER_GFLOP = {"float32": 0.002, "bf16": 0.006}
COMPILATION_SECONDS = 45.0
MARGIN = 2.0
# On a GPU, compiling saves the time between small kernels, about the same for every size. Not measured yet.
SAVED_SECONDS_PER_UPDATE_ON_GPU = 0.01


def resolve_compile_mode(config: RunConfig, device: torch.device, updates: float | None = None) -> RunConfig:
    """Return the config with `learner.compile = "auto"` resolved to "on" or "off". Needs the window and the replay ratio.

    `updates`: how many there will be; None: derived from the environment steps and the replay ratio.

    Raises:
        ConfigError: "on" is set, but there is no compiler.
    """
    choice = config.learner.compile
    if choice == "on" and config.text.tuning != "frozen":
        raise ConfigError(
            f"learner.compile: 'on' is not possible with text.tuning = {config.text.tuning!r}; set learner.compile = 'off'"
        )
    if choice == "on" and not can_compile(device):
        raise ConfigError(
            "learner.compile: 'on' needs a C++ compiler (g++ or clang++, or what CXX names), but none was found: install "
            "one, or set learner.compile = 'auto' or 'off'"
        )
    if choice == "auto":
        choice = "on" if is_worth_compiling(config, device, updates) and can_compile(device) else "off"
    return dataclasses.replace(config, learner=dataclasses.replace(config.learner, compile=choice))


def is_worth_compiling(config: RunConfig, device: torch.device, updates: float | None = None) -> bool:
    """Return whether the run is long enough for compilation to save twice the time that it takes."""
    network, replay = config.network, config.replay
    if not trunk_class(network).compiles or config.text.encoder == "tokens" or config.text.tuning != "frozen":
        return False  # compiled, a text would be encoded as often as it occurs in the batch
    window = replay.window
    rows = replay.batch_size or max(1.0, replay.batch_tokens / (window + 1))
    if updates is None:
        updates = config.steps * replay.replay_ratio / (rows * window)
    if device.type == "cuda":
        saved = updates * SAVED_SECONDS_PER_UPDATE_ON_GPU
    else:
        work = gflop(network, rows, window)
        saved = updates * work * SAVED_SECONDS_PER_GFLOP[config.learner.precision]
    return saved > MARGIN * COMPILATION_SECONDS


def gflop(network: NetworkConfig, rows: float, window: int) -> float:
    """Return the GFLOP of the trunk's matrix products per update: two forward passes, and a backward pass counted twice."""
    return 4 * trunk_class(network).flops(network, rows, window + 1) / 1e9


def can_compile(device: torch.device) -> bool:
    """Return whether there is a compiler for the device."""
    if device.type == "cuda":
        return bool(torch.utils._triton.has_triton())  # the check that torch itself makes before compiling
    return any(shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++") if name)


def compiled(
    losses: Callable[[SequenceBatch], Result], backend: str | Callable[..., Any] = "inductor"
) -> Callable[[SequenceBatch], Result]:
    """Return `losses`, compiled at its first call; one compilation serves every number of rows. T must stay the same.

    The compiled code is cached for the user, so that the next run with the same shapes starts within seconds.
    """
    keep_compiled()
    call = torch.compile(
        losses, dynamic=False, backend=backend
    )  # T, widths and heads are constants; rows are marked below

    def run(batch: SequenceBatch) -> Result:
        for value in batch.tensors():
            torch._dynamo.maybe_mark_dynamic(value, 0)
        return call(batch)

    return run


def keep_compiled() -> None:
    """Keep compiled code across reboots; by default, torch uses a temporary folder."""
    folder = cache_folder("compiled")
    base = folder.parents[1]
    if os.access(base if base.exists() else base.parent, os.W_OK):
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))
