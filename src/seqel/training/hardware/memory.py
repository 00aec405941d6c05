"""Estimates whether a run fits into memory, from the config, before anything is allocated.

The estimate is a lower bound (the size of the arrays, without the allocator's overhead), so no run that fits is refused.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from seqel.errors import ConfigError
from seqel.replay.layout import Layout
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.training.config import ReplayConfig, RunConfig
from seqel.training.hardware.threads import CGROUPS, cgroup_folders

__all__ = [
    "capped",
    "memory_needed",
    "memory_present",
    "missing_memory",
    "require_memory",
    "segment_length",
    "slots_needed",
]

GIB = 1 << 30
UNLIMITED = 1 << 60  # cgroup version 1 writes "no limit" as a number near 2^63
COPIES = 7  # of each weight: online and target network, average, best, gradient, and the optimiser's two moments


def memory_present(
    root: Path = CGROUPS, own: Path = Path("/proc/self/cgroup"), meminfo: Path = Path("/proc/meminfo")
) -> int | None:
    """Return the bytes that this process may use: the machine's memory, or its container's limit. None: not known."""
    lines = _text(meminfo).splitlines()
    found = [int(line.split()[1]) << 10 for line in lines if line.startswith("MemTotal:")]
    for folder in cgroup_folders("memory", root, own):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _text(folder / name)
            if text.isdecimal() and int(text) < UNLIMITED:
                found.append(int(text))
    return min(found, default=None)


def segment_length(config: RunConfig) -> int:
    """Return the number of transitions after which an unfinished episode is handed to the replay as a segment."""
    return max(4 * config.replay.window, 512, 2 * config.network.context)


def slots_needed(config: RunConfig) -> int:
    """Return the number of slots that hold every step of the run, however short its episodes are.

    An episode of one step takes two slots; segments of long episodes overlap by at most half their length.
    """
    return 3 * (config.steps + config.environments) + segment_length(config) + 1


def require_memory(
    config: RunConfig, observation: ObservationSpec, action: ActionSpec, *, masked: bool = False, live: bool = True
) -> None:
    """Refuse a run that cannot fit. `config` must be complete; `live`: the run has environments and a replay of their steps.

    Raises:
        ConfigError: the message says how many GiB are needed, what for, and how many there are.
    """
    message = missing_memory(config, observation, action, masked=masked, live=live)
    if message is not None:
        raise ConfigError(message)


def missing_memory(
    config: RunConfig, observation: ObservationSpec, action: ActionSpec, *, masked: bool = False, live: bool = True
) -> str | None:
    """Return the message that `require_memory` would raise; None if the run fits, or the memory size is unknown."""
    present = memory_present()
    if present is None:
        return None
    parts = memory_needed(config, observation, action, masked=masked, live=live)
    total = sum(size for size, _ in parts.values())
    if total <= present:
        return None
    what, (size, way_out) = max(parts.items(), key=lambda part: part[1][0])
    return (
        f"this run needs at least {total / GIB:,.1f} GiB of memory, but only {present / GIB:,.1f} GiB are available; most of "
        f"it is for {what} ({size / GIB:,.1f} GiB): {way_out}"
    )


def memory_needed(
    config: RunConfig, observation: ObservationSpec, action: ActionSpec, *, masked: bool = False, live: bool = True
) -> dict[str, tuple[int, str]]:
    """Return, for each part of the run, its minimum size in bytes and advice on the settings that reduce it."""
    network, replay, count = config.network, config.replay, config.environments
    gru, width = network.trunk == "gru", network.width
    frame = sum(_bytes(shape, dtype) for shape, dtype in observation.storage.values())
    attended, units = network.heads * network.attention_dim, network.units
    weights = network.layers * width * (6 * width if gru else 4 * attended + 2 * units)
    # copies share the weights of a pretrained model that stay as they are
    copies = 1 if network.trunk == "pretrained" and network.tuning != "full" else COPIES
    tokens = 2 * replay.batch_size or replay.batch_tokens
    kept = network.layers * (4 * width if gru else 4 * width + units)  # numbers per token for the backward pass
    activations = tokens * (frame + kept * (2 if config.learner.precision == "bf16" else 4))
    parts = {
        "the network": (4 * copies * weights, "reduce network.width or network.layers"),
        "one update": (
            activations // config.learner.gradient_accumulation_steps,
            "reduce replay.batch_tokens (or replay.batch_size), or increase learner.gradient_accumulation_steps",
        ),
    }
    if live:
        ring = 0 if gru else 2 * 4 * network.layers * count * network.context * attended
        parts["the agent's memory of each environment"] = (ring, "reduce network.context or environments")
        parts["open episodes"] = (
            count * (segment_length(config) + 1) * frame,
            "reduce environments, network.context or replay.window",
        )
        columns = Layout(dict(observation.storage), action.actions, action.dims, masked).columns()
        slot = sum(_bytes(shape, dtype) for shape, dtype in columns.values()) + (16 if replay.priority_exponent else 0)
        slots = min(replay.capacity, config.steps)  # a lower bound: one per step, and one more per episode
        way_out = f"reduce replay.capacity ({slots:,} slots of {slot:,} bytes are counted)"
        parts["the replay"] = (
            0 if replay.directory else slots * slot,
            way_out + ", or set replay.directory to store it in files",
        )
    return parts


def capped(config: RunConfig) -> tuple[int, str | None]:
    """Return the replay's slots, at most as many as the run can fill, and a note if the config asks for more."""
    needed, asked = slots_needed(config), config.replay.capacity
    if asked <= needed:
        return asked, None
    note = (
        f"replay.capacity: {config.steps:,} steps fill at most {needed:,} slots, so {needed:,} are kept ready instead of "
        f"{asked:,}"
    )
    return needed, None if asked == ReplayConfig().capacity else note


def _bytes(shape: tuple[int, ...], dtype: Any) -> int:
    return math.prod(shape) * int(dtype.itemsize)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
