"""What a config leaves open, filled in from what a first look at the environment found."""

from __future__ import annotations

import dataclasses

from seqel.environments.probe import Probe
from seqel.training.config import RunConfig
from seqel.training.required_heads import with_heads

__all__ = ["resolve_defaults", "with_defaults"]

DISCOUNT = 0.99  # where neither the config nor the environment says


def resolve_defaults(config: RunConfig, found: Probe) -> RunConfig:
    """Fill in what the config left open, from what the probe found: context, window, discount; memoryless.

    What is chosen here is written to config.toml once, so that a resumed run does not choose again.
    """
    context, horizon = config.network.context or found.context, found.horizon
    window = horizon if horizon is not None and horizon <= 2 * context else 2 * context
    return with_defaults(config, context, window, float(found.suggested.get("discount", DISCOUNT)))


def with_defaults(config: RunConfig, context: int, window: int, discount: float = DISCOUNT) -> RunConfig:
    """The config with these where it leaves them open (the context in any case), without a history if it is to have none,
    and with the heads that its objective needs."""
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
