"""Which heads an objective needs beside the values: chosen here once, so that a preset need only name the objective."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seqel.losses.config import ObjectiveConfig
    from seqel.networks.config import NetworkConfig

__all__ = ["with_heads"]


def with_heads(network: NetworkConfig, objective: ObjectiveConfig) -> NetworkConfig:
    """The config with a policy head that decides where something is imitated, and a state value where IQL needs one.

    What the config itself asks for (a policy head that filters, or stands beside) stays.
    """
    if objective.cloning_weight > 0.0 and network.policy_head == "none":
        network = dataclasses.replace(network, policy_head="greedy")
    if objective.iql_expectile > 0.0 and not network.state_value:
        network = dataclasses.replace(network, state_value=True)
    return network
