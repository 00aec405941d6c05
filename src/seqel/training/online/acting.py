"""The agents of a run: one acts, one is validated, one keeps the best weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from seqel.agents.agent import Agent
from seqel.environments.probe import Probe
from seqel.networks.qnetwork import QNetwork
from seqel.training.config import RunConfig
from seqel.training.weight_average import WeightAverage

__all__ = ["INHERITED", "RunAgents"]

INHERITED = ("data", "encoding", "held_out")  # what a further trained agent keeps in `info` about its training data


class RunAgents:
    """Agents on the weights of a learner, which are trained; on their moving average, and on a copy.

    inherited: what they say of the training data of the agent that the run started from.
    """

    def __init__(self, config: RunConfig, found: Probe, network: QNetwork, inherited: Mapping[str, Any]) -> None:
        info = {**inherited, "env": config.env, "seed": config.seed, "discount": config.objective.discount}
        if config.shield:
            info["shield"] = config.shield
        if found.masked:
            info["masked"] = True  # so that the agent can warn when it acts without masks
        self.average = WeightAverage(network, config.learner.average_rate)
        self.challenger = Agent(self.average.network, info)  # what is validated
        self.kept = Agent(copy.deepcopy(network), info)  # the best weights, and the incumbent
        acting = {"latest": Agent(network, info), "averaged": self.challenger, "incumbent": self.kept}
        self.has_incumbent = config.learner.acting_weights == "incumbent"
        self.acting = acting[config.learner.acting_weights]

    def rescale(self, scale: float) -> None:
        """Follow a return scale, to which the learner has changed its own weights."""
        self.average.network.rescale(scale)
        if self.has_incumbent:
            self.acting.network.rescale(scale)
