"""The part of an `Agent` that sets how much values and costs count in its choices, without further training."""

from __future__ import annotations

from dataclasses import replace

from seqel.agents.safeguards import Safeguards

__all__ = ["ScoreWeights"]


class ScoreWeights(Safeguards):
    """Weights of the parts that a decision's scores are made of."""

    def set_value_weight(self, weight: float) -> None:
        """Set `network.value_weight`: how much values count beside the log-probabilities of a policy head that decides.

        A calibration of abstention is removed.

        Raises ConfigError: the weight is negative, or the agent has no such head.
        """
        config = replace(self.network.config, value_weight=weight)
        config.require_policy()
        self.network.config = config
        self.set_abstention(None)  # other scores

    @property
    def cost_multiplier(self) -> float | None:
        """How much reward a unit of cost weighs in greedy choices; None: the agent was not trained with a cost limit."""
        return self.network.cost_multiplier

    def set_cost_multiplier(self, multiplier: float) -> None:
        """Set how much reward a unit of cost weighs in greedy choices: 0 ignores costs.

        Raises ConfigError: the agent was not trained with `objective.cost_limit`, or the number is negative or not finite.
        """
        self.network.set_cost_multiplier(multiplier)
