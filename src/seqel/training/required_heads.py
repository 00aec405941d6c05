"""Which heads an objective needs beside the values: chosen here once, so that a preset need only name the objective."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seqel.losses.config import ObjectiveConfig
    from seqel.networks.config import NetworkConfig

__all__ = ["with_heads"]


def with_heads(network: NetworkConfig, objective: ObjectiveConfig) -> NetworkConfig:
    """The config with the heads that the objective's terms need: a policy head that decides, a state value.

    What the config itself asks for (a policy head as a constraint, or beside the values) stays.
    """
    from seqel.losses.terms.registry import active_terms  # these import torch, which a command need not wait for
    from seqel.networks.heads.registry import HEADS

    for term in active_terms(objective):
        if term.head is not None and not HEADS[term.head].wanted(network):
            network = dataclasses.replace(network, **HEADS[term.head].default)
    return network
