"""The heads that an objective needs besides the Q-values: added, so that a preset names the objective alone, and checked."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from seqel.errors import ConfigError

if TYPE_CHECKING:
    from seqel.losses.config import ObjectiveConfig
    from seqel.networks.config import NetworkConfig
    from seqel.networks.qnetwork import QNetwork
    from seqel.training.learner_config import LearnerConfig

__all__ = ["require_heads", "with_heads"]


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


def require_heads(network: QNetwork, objective: ObjectiveConfig, config: LearnerConfig) -> None:
    """Raise ConfigError if the objective needs a head that the network lacks."""
    from seqel.losses.terms.registry import active_terms  # as above
    from seqel.networks.heads.registry import HEADS

    terms = active_terms(objective)
    for term in terms:
        if term.head is not None and network.part(term.head) is None:
            raise ConfigError(f"objective.{term.setting} > 0 needs {HEADS[term.head].setting}")
    if network.part("policy") is not None and not any(term.head == "policy" for term in terms):
        raise ConfigError(
            f"network.policy_head = {network.config.policy_head!r} is trained by objective.cloning_weight or "
            "objective.distillation_weight, which are 0"
        )
    if network.head.values.needs_next_outputs and (
        network.part("state_value") is not None or network.config.policy_head == "constraint"
    ):
        raise ConfigError(
            f"network.value = {network.config.value!r}: these are trained towards the best action only, which neither "
            "objective.iql_expectile nor network.policy_head = 'constraint' changes; use 'scalar' or 'hl-gauss'"
        )
    if config.sampled_negatives and network.action_spec.dims > 1:
        raise ConfigError(
            f"learner.sampled_negatives: expected one action dimension, got {network.action_spec.dims}: set it to 0. With "
            "several dimensions the values to compute are a sum over dimensions already, not a product"
        )
    if terms and config.gradient_accumulation_steps > 1 and network.head.values.divide_by_variance:
        names = " and ".join(f"objective.{term.setting}" for term in terms)
        raise ConfigError(
            "learner.gradient_accumulation_steps > 1 divides all gradients by the variance of scalar targets, a unit that "
            f"{names} do not share: set it to 1, or network.value = 'hl-gauss'"
        )
