"""The cost limit in training on environments: the costs of steps, and the multiplier that follows the costs of episodes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.environments.probe import Probe
from seqel.environments.vector import cost_of
from seqel.errors import ConfigError, EnvironmentFault
from seqel.losses.config import ObjectiveConfig
from seqel.networks.qnetwork import QNetwork
from seqel.training.online.multiplier import CostMultiplier

__all__ = ["CostLimit", "step_costs"]


class CostLimit:
    """Follows the limit of an objective; without a limit, it does nothing.

    Raises ConfigError: there is a limit, and random play saw no costs.
    """

    def __init__(self, objective: ObjectiveConfig, found: Probe) -> None:
        self.limit = objective.cost_limit if objective.cost_limit >= 0.0 else None  # mean cost per episode
        if self.limit is not None and not found.reports_cost:
            raise ConfigError(
                "objective.cost_limit: expected an environment that reports info['cost'] at every step, but random play saw "
                "none. Add it, or leave cost_limit at -1"
            )
        self.multiplier = None if self.limit is None else CostMultiplier(self.limit)

    def observe(self, cost: float | None) -> None:
        """Count the cost of a training episode that has ended, in one of the environments that explore least."""
        if self.multiplier is not None and cost is not None:
            self.multiplier.observe(cost)

    def follow(self, scale: float, networks: Iterable[QNetwork]) -> None:
        """Set the multiplier in networks. scale: the return scale, in units of reward."""
        if self.multiplier is not None:
            value = self.multiplier.value(scale)
            for network in networks:
                network.set_cost_multiplier(value)

    def state_dict(self) -> dict[str, Any] | None:
        """Return what an exact resume needs; None: nothing."""
        return None if self.multiplier is None else self.multiplier.state_dict()

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Restore what `state_dict` returned."""
        if self.multiplier is not None and state is not None:
            self.multiplier.load_state_dict(state)


def step_costs(info: dict[str, Any], live: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Return the costs of the rows `live`, of `count` environments, which took a step.

    Raises EnvironmentFault: an environment reported none.
    """
    found = cost_of(info, count)
    costs = np.full(len(live), np.nan) if found is None else found[live]
    if np.isnan(costs).any():
        row = int(live[np.isnan(costs)][0])
        raise EnvironmentFault(
            f"environment {row}: objective.cost_limit needs info['cost'], a finite number of at least 0, at every step; "
            "after this step there was none"
        )
    return costs
