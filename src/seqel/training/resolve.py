"""Chooses, once and before a run starts, every setting that the config leaves at "auto".

Context, window and discount follow from the environment or from the recorded episodes; batch, replay ratio and rates from
the number of steps; device, threads and compilation from the machine. The result is written to config.toml, so that a
resumed run does not choose again.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import torch

from seqel.environments.probe import Probe
from seqel.errors import ConfigError
from seqel.settings import unresolved
from seqel.training.base_model import with_base_model
from seqel.training.config import RunConfig
from seqel.training.hardware.compilation import resolve_compile_mode
from seqel.training.hardware.devices import choose_device
from seqel.training.hardware.processor import slow_bf16
from seqel.training.hardware.threads import available_cores, choose_threads
from seqel.training.required_heads import with_heads

if TYPE_CHECKING:
    from seqel.networks.config import NetworkConfig
    from seqel.replay.episode_buffer import EpisodeBuffer

__all__ = [
    "LONGEST_CONTEXT", "for_environment", "for_episodes", "for_length", "on_this_machine", "require_fast_precision",
    "require_resolved", "resumed_here", "slow_precision", "unused_network_settings", "with_network_of",
]  # fmt: skip

DISCOUNT = 0.99  # if neither the config nor the environment sets it
# of runs of at most this many environment steps; `for_length` has the rule for longer ones
SHORT_RUN = 200_000
REPLAY_RATIO, BATCH_TOKENS, TARGET_RATE, LEARNING_RATE = 32.0, 416, 0.05, 5e-4
NOVELTY_WEIGHT = 0.1  # with 1, the novelty of a task in which it does not matter delays learning (docs/experiments.md)
# settings of a network that its weights do not depend on
CHANGEABLE = ("dropout", "step_dropout", "item_dropout", "value_weight", "value_gradient", "bcq_threshold")
LONGEST_CONTEXT = 128  # steps; chosen for recorded episodes that are longer


def with_network_of(config: RunConfig, network: NetworkConfig) -> RunConfig:
    """Return the config with the network of the agent to start from.

    What the config sets of `CHANGEABLE`, which needs no other weights, replaces the agent's.
    """
    own, plain = config.network, type(config.network)()
    changed = {name: getattr(own, name) for name in CHANGEABLE if getattr(own, name) != getattr(plain, name)}
    return dataclasses.replace(config, network=dataclasses.replace(network, **changed))


def unused_network_settings(asked: NetworkConfig, used: NetworkConfig) -> str | None:
    """Return a note on what a config sets of the network and a run that starts from an agent does not use, if anything."""
    plain = type(asked)()
    unused = [
        f"network.{one.name} = {getattr(asked, one.name)!r} is not used: the agent to start from has "
        f"{getattr(used, one.name)!r}"
        for one in dataclasses.fields(asked)
        if getattr(asked, one.name) not in (getattr(plain, one.name), getattr(used, one.name))
    ]
    return "; ".join(unused) or None


def for_environment(config: RunConfig, probed: Probe) -> RunConfig:
    """Return the config with context, window, discount and heads chosen for an environment, and `for_length`."""
    context, horizon = config.network.context or probed.context, probed.horizon
    window = horizon if horizon is not None and horizon <= 2 * context else 2 * context
    return _with_lengths(config, context, window, float(probed.suggested.get("discount", DISCOUNT)), explores=True)


def for_episodes(config: RunConfig, episodes: EpisodeBuffer) -> RunConfig:
    """Return the config with context, window, discount and heads chosen for recorded episodes, and `for_length`."""
    longest = int(episodes.lengths.max())
    context = config.network.context or min(longest + 1, LONGEST_CONTEXT)
    chosen = _with_lengths(config, context, min(longest, 2 * context), DISCOUNT, explores=False)
    # no environment is stepped: the value is never used
    return dataclasses.replace(chosen, vectorization="sync") if chosen.vectorization == "auto" else chosen


def for_length(config: RunConfig) -> RunConfig:
    """Return the config with replay ratio, batch, target rate and learning rate chosen for the number of steps.

    A short run has to use each step often, in many small updates, and with a target network that follows fast. Beyond
    200,000 steps the number of updates stays about the same (15,000): each of them then uses more steps and so has less
    noise, and the target may follow more slowly. The learning rate grows with the root of the batch (Malladi et al. 2022,
    arXiv:2205.10287).
    """
    replay, learner = config.replay, config.learner
    longer = max(1.0, math.sqrt(config.steps / SHORT_RUN))
    tokens = replay.batch_tokens or round(BATCH_TOKENS * longer)
    ratio, rate, target_rate = replay.replay_ratio, learner.learning_rate, learner.target_rate
    if ratio < 0.0:
        ratio = _readable(REPLAY_RATIO / longer)
    if rate < 0.0:
        rate = _readable(LEARNING_RATE * math.sqrt(tokens / BATCH_TOKENS))
    pretrained_rate = learner.pretrained_rate
    if pretrained_rate < 0.0:
        pretrained_rate = 0.02 if "full" in (config.text.tuning, config.network.tuning) else 0.2
    if target_rate < 0.0:
        target_rate = _readable(TARGET_RATE / longer)
    return dataclasses.replace(
        config,
        text=dataclasses.replace(config.text, length=config.text.tokens),
        replay=dataclasses.replace(replay, batch_tokens=tokens, replay_ratio=ratio),
        learner=dataclasses.replace(
            learner, learning_rate=rate, target_rate=target_rate, pretrained_rate=pretrained_rate
        ),
    )


def _novelty_weight(config: RunConfig) -> float:
    """Return the weight of novelty for a run on an environment. Needs the discount."""
    learns = (
        config.exploration.novelty > 0.0
        and config.objective.discount > 0.0
        and config.learner.gradient_accumulation_steps == 1
    )
    return NOVELTY_WEIGHT if learns else 0.0


def _readable(number: float) -> float:
    """Round to three significant digits, for config.toml."""
    return float(f"{number:.3g}")


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


def require_fast_precision(config: RunConfig) -> None:
    """Raise ConfigError if `learner.precision` would make updates slower on the device, for a run that begins here."""
    problem = slow_precision(config)
    if problem is not None:
        raise ConfigError(problem)


def slow_precision(config: RunConfig) -> str | None:
    """Return why `learner.precision` would make updates slower on the device, and the way out; None: it does not."""
    return None if config.learner.precision == "float32" else slow_bf16(choose_device(config.device))


def resumed_here(config: RunConfig) -> tuple[RunConfig, list[str]]:
    """Return the config of a run to resume, with a device that this machine has, and notes on what is worse here.

    A run that began elsewhere continues, even if it is slower here: another precision would be another run.
    """
    notes = []
    try:
        choose_device(config.device)
    except ConfigError:
        chosen = str(choose_device("auto"))
        notes.append(
            f"the run was on {config.device}, which is not available here: it continues on {chosen}, where sums are "
            "rounded differently, so it will differ from an uninterrupted run"
        )
        config = dataclasses.replace(config, device=chosen)
    slow = slow_precision(config)
    if slow is not None:
        notes.append(f"{slow.partition('. Set ')[0]}. The run continues in bf16, as it started")
    return config, notes


def require_resolved(config: RunConfig) -> None:
    """Raise ConfigError if a setting is still "auto"."""
    names = unresolved(config)
    if names:
        raise ConfigError(f"expected a resolved config, but these settings are still 'auto': {', '.join(names)}")


def _with_lengths(config: RunConfig, context: int, window: int, discount: float, explores: bool) -> RunConfig:
    """Return the config `for_length` with this context, with window and discount if open, and with the heads that it needs.

    A memoryless config gets a context of one step, and tokens without history.
    """
    config = for_length(config)
    network, objective, replay = with_base_model(config.network), config.objective, config.replay
    if config.memoryless:
        network = dataclasses.replace(
            network, trunk="transformer", context=1, previous_action=False, previous_reward=False, first_step=False,
            clock=False,
        )  # fmt: skip
    else:
        network = dataclasses.replace(network, context=context)
    if objective.discount < 0.0:
        objective = dataclasses.replace(objective, discount=discount)
    if objective.novelty_weight < 0.0:
        weight = _novelty_weight(dataclasses.replace(config, objective=objective)) if explores else 0.0
        objective = dataclasses.replace(objective, novelty_weight=weight)
    return dataclasses.replace(
        config,
        network=with_heads(network, objective),
        objective=objective,
        replay=dataclasses.replace(replay, window=replay.window or window),
    )
