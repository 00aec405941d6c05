"""Chooses, once and before a run starts, every setting that the config leaves at "auto".

Context, window and discount follow from the environment or from the recorded episodes, the replay ratio from the number of
steps; device, threads and compilation from the machine. The result is written to config.toml, so that a resumed run does not
choose again.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import torch

from seqel.environments.probe import Probe
from seqel.errors import ConfigError
from seqel.settings import unresolved
from seqel.training.config import RunConfig
from seqel.training.hardware.compilation import resolve_compile_mode
from seqel.training.hardware.devices import choose_device
from seqel.training.hardware.threads import available_cores, choose_threads
from seqel.training.required_heads import with_heads

if TYPE_CHECKING:
    from seqel.replay.episode_buffer import EpisodeBuffer

__all__ = [
    "LONGEST_CONTEXT", "for_environment", "for_episodes", "on_this_machine", "replay_ratio", "require_resolved",
    "with_available_device",
]  # fmt: skip

DISCOUNT = 0.99  # if neither the config nor the environment sets it
REPLAY_RATIO = 32.0  # of runs of up to `FULL_RATIO_STEPS`
FULL_RATIO_STEPS = 200_000
LONGEST_CONTEXT = 128  # steps; chosen for recorded episodes that are longer


def for_environment(config: RunConfig, found: Probe) -> RunConfig:
    """Return the config with context, window, discount, replay ratio and heads chosen for an environment."""
    context, horizon = config.network.context or found.context, found.horizon
    window = horizon if horizon is not None and horizon <= 2 * context else 2 * context
    return _with_lengths(config, context, window, float(found.suggested.get("discount", DISCOUNT)))


def for_episodes(config: RunConfig, episodes: EpisodeBuffer) -> RunConfig:
    """Return the config with context, window, discount and heads chosen for recorded episodes."""
    longest = int(episodes.lengths.max())
    context = config.network.context or min(longest + 1, LONGEST_CONTEXT)
    chosen = _with_lengths(config, context, min(longest, 2 * context), DISCOUNT)
    # no environment is stepped: the value is never used
    return dataclasses.replace(chosen, vectorization="sync") if chosen.vectorization == "auto" else chosen


def replay_ratio(steps: int) -> float:
    """Return how many transitions to train on per environment step in a run of `steps` environment steps.

    In a short run each step has to be used often. In a long run, that would take most of the time and add little: beyond
    `FULL_RATIO_STEPS`, four times the steps get twice the updates.
    """
    return REPLAY_RATIO * min(1.0, math.sqrt(FULL_RATIO_STEPS / steps))


def on_this_machine(config: RunConfig, updates: float | None = None) -> RunConfig:
    """Return the config with device, threads and compilation chosen for this machine. Needs the window and replay ratio.

    `updates`: how many there will be; None: derived from the environment steps and the replay ratio.

    Raises:
        ConfigError: the device is not available, or compilation is asked for without a compiler.
    """
    device = choose_device(config.device)
    # The number of threads that compute a sum decides its last bits, so a resumed run must use as many.
    threads = config.threads or choose_threads(config.network.width, min(available_cores(), torch.get_num_threads()))
    config = dataclasses.replace(config, device=str(device), threads=threads)
    return resolve_compile_mode(config, device, updates)


def with_available_device(config: RunConfig) -> tuple[RunConfig, list[str]]:
    """Return the config of a run to resume, with a device that this machine has, and a note if that is another one."""
    try:
        choose_device(config.device)
    except ConfigError:
        chosen = str(choose_device("auto"))
        note = (
            f"the run was on {config.device}, which is not available here: it continues on {chosen}, where sums are "
            "rounded differently, so that it will differ from an uninterrupted run"
        )
        return dataclasses.replace(config, device=chosen), [note]
    return config, []


def require_resolved(config: RunConfig) -> None:
    """Raise ConfigError if a setting is still "auto"."""
    names = unresolved(config)
    if names:
        raise ConfigError(f"expected a resolved config, but these settings are still 'auto': {', '.join(names)}")


def _with_lengths(config: RunConfig, context: int, window: int, discount: float) -> RunConfig:
    """Return the config with this context, with window, discount and replay ratio if open, and with the heads that it needs.

    A memoryless config gets a context of one step, and tokens without history.
    """
    network, objective, replay = config.network, config.objective, config.replay
    if config.memoryless:
        network = dataclasses.replace(
            network, trunk="transformer", context=1, previous_action=False, previous_reward=False, first_step=False,
            clock=False,
        )  # fmt: skip
    else:
        network = dataclasses.replace(network, context=context)
    if objective.discount < 0.0:
        objective = dataclasses.replace(objective, discount=discount)
    replay = dataclasses.replace(replay, window=replay.window or window)
    if replay.replay_ratio < 0.0:
        replay = dataclasses.replace(replay, replay_ratio=replay_ratio(config.steps))
    return dataclasses.replace(config, network=with_heads(network, objective), objective=objective, replay=replay)
