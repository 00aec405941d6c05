"""The heads that an objective needs besides the Q-values, derived here so that a preset only has to name the objective."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seqel.losses.config import ObjectiveConfig
    from seqel.networks.config import NetworkConfig

__all__ = ["with_heads"]


def with_heads(network: NetworkConfig, objective: ObjectiveConfig) -> NetworkConfig:
    """Return the config with the heads that the objective's terms need: a greedy policy head, a state value.

    A policy head that the config asks for itself (a constraint, or an auxiliary one) stays.
    """
    from seqel.losses.terms.registry import active_terms  # these import torch, which is slow
    from seqel.networks.heads.registry import HEADS

    for term in active_terms(objective):
        if term.head is not None and not HEADS[term.head].wanted(network):
            network = dataclasses.replace(network, **HEADS[term.head].default)
    return network
