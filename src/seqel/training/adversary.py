"""Observations of a batch, moved within a small distance so that the greedy action loses its lead."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seqel.errors import ConfigError
from seqel.losses.targets import allowed_actions
from seqel.losses.terms.robustness import greedy_margin
from seqel.robustness.gradient import ascend
from seqel.robustness.leaves import numeric_units

if TYPE_CHECKING:
    from seqel.losses.config import ObjectiveConfig
    from seqel.networks.qnetwork import QNetwork
    from seqel.types import QOutput, SequenceBatch

__all__ = ["move_observations", "require_movable"]


def require_movable(network: QNetwork, sampled_negatives: int = 0) -> None:
    """Raise ConfigError if the observation has nothing that can be moved, if a policy head decides, or if only some of the
    actions are scored."""
    if sampled_negatives:
        raise ConfigError(
            "objective.robust_weight > 0 compares the values of all actions, but learner.sampled_negatives = "
            f"{sampled_negatives} scores some: set one of them to 0"
        )
    if not numeric_units(network):
        kinds = sorted({leaf.kind for leaf in network.observation_spec.leaves})
        raise ConfigError(
            f"objective.robust_weight > 0 moves numbers and pictures, and the observation has {kinds}: set it to 0"
        )
    if network.config.policy_head == "greedy":
        raise ConfigError(
            "objective.robust_weight > 0 keeps the lead of the best value, but network.policy_head = 'greedy' decides "
            "without the values: set it to 0"
        )


def move_observations(
    network: QNetwork, batch: SequenceBatch, online: QOutput, objective: ObjectiveConfig
) -> SequenceBatch:
    """Return the batch with numbers and pictures moved by at most `robust_epsilon` units each, to raise `greedy_margin`.

    All observations of a window move together, by `robust_steps` steps along the sign of the gradient. Texts, categories and
    the other leaves stay. No gradient of the weights is computed.
    """
    units = numeric_units(network)
    inputs = {path: batch.observation[path].float() for path in units}
    radius = {path: objective.robust_epsilon * unit for path, unit in units.items()}
    mask = allowed_actions(batch, online)
    clean = online.preference.detach()

    def lead(leaves: dict[str, Tensor]) -> Tensor:
        out = network(dataclasses.replace(batch, observation={**batch.observation, **leaves}))
        found = greedy_margin(clean, out.preference, mask)[:, :-1]
        return torch.where(batch.loss_mask[..., None] & found.isfinite(), found, 0.0).sum()

    moved = ascend(lead, inputs, radius, objective.robust_steps)
    return dataclasses.replace(batch, observation={**batch.observation, **moved})
