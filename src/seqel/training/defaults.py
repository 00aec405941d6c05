"""Resolves what a config leaves open, once, before a run starts; the result is written to config.toml.

For online runs the values follow from probing the environment, for offline runs from the lengths of the episodes.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from seqel.environments.probe import Probe
from seqel.training.config import RunConfig
from seqel.training.required_heads import with_heads

if TYPE_CHECKING:
    from seqel.replay.episode_buffer import EpisodeBuffer

__all__ = ["LONGEST_CONTEXT", "resolve_defaults", "resolve_offline_defaults", "with_defaults"]

DISCOUNT = 0.99  # if neither the config nor the environment sets it
LONGEST_CONTEXT = 128  # steps; chosen for recorded episodes that are longer


def resolve_defaults(config: RunConfig, found: Probe) -> RunConfig:
    """Fill in what the config left open, from what the probe found: context, window, discount, heads."""
    context, horizon = config.network.context or found.context, found.horizon
    window = horizon if horizon is not None and horizon <= 2 * context else 2 * context
    return with_defaults(config, context, window, float(found.suggested.get("discount", DISCOUNT)))


def resolve_offline_defaults(config: RunConfig, episodes: EpisodeBuffer) -> RunConfig:
    """Fill in what the config left open, from the episodes' lengths: context, window, discount, heads."""
    longest = int(episodes.lengths.max())
    context = config.network.context or min(longest + 1, LONGEST_CONTEXT)
    return with_defaults(config, context, min(longest, 2 * context))


def with_defaults(config: RunConfig, context: int, window: int, discount: float = DISCOUNT) -> RunConfig:
    """Return the config with this context, and with window, discount and heads filled in where they are open.

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
    if objective.discount is None:
        objective = dataclasses.replace(objective, discount=discount)
    return dataclasses.replace(
        config,
        network=with_heads(network, objective),
        objective=objective,
        replay=dataclasses.replace(replay, window=replay.window or window),
    )
