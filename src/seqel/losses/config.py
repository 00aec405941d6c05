"""The training objective: targets, errors and loss terms. Does not import torch, so that the command line starts fast."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from seqel.errors import ConfigError
from seqel.settings import check, setting

__all__ = ["ObjectiveConfig"]


@dataclass(frozen=True, slots=True)
class ObjectiveConfig:
    """Settings of the objective: double Q-learning on every step of the window, with n-step or lambda-returns.

    Raises ConfigError if a value is out of range, or if two settings contradict each other.
    """

    discount: float = setting(
        -math.inf,
        "Discount factor per step. 'auto': what the environment suggests, otherwise 0.99.",
        ge=0.0,
        le=1.0,
        auto=-math.inf,
        known_as=("gamma",),
    )
    lambda_: float = setting(
        0.9,
        "Lambda of the lambda-returns that values are trained on. The larger it is, the further back a reward propagates in "
        "one update. 0: use `n_step` targets.",
        ge=0.0,
        le=1.0,
        known_as=("lambda", "lam", "td_lambda", "gae_lambda"),
    )
    trace: Literal["peng", "watkins", "retrace"] = setting(
        "watkins",
        "How lambda-returns treat exploratory actions: Peng's Q(lambda) ignores them, Watkins's cuts the return there, "
        "Retrace weights it by the probability of the action.",
    )
    n_step: int = setting(
        1, "Number of rewards in a target before it bootstraps, if `lambda_` is 0.", unit="steps", ge=1
    )
    double: bool = setting(
        True, "Double Q-learning: the online network selects the next action, the target network evaluates it."
    )
    td_loss: Literal["squared", "huber"] = setting(
        "squared",
        "Loss of the temporal-difference errors of scalar values. Distributional values have a loss of their own.",
        renamed_from=("error",),
    )
    td_weight: float = setting(1.0, "Weight of the Q-learning loss. 0: only clone the recorded actions.", ge=0.0)
    cql_alpha: float = setting(
        0.0,
        "Weight (alpha) of the conservative Q-learning penalty, which pushes down the values of actions that were not "
        "recorded. 0: off.",
        ge=0.0,
        known_as=("cql", "conservative"),
    )
    cql_temperature: float = setting(
        0.1,
        "Temperature of the softmax in the conservative penalty: value differences below it count as small.",
        unit="return scales",
        gt=0.0,
    )
    cloning_weight: float = setting(
        0.0,
        "Weight of the loss of predicting the recorded action (behaviour cloning). 0: off.",
        ge=0.0,
    )
    cloning_loss: Literal["softmax", "gbce"] = setting(
        "softmax",
        "The loss of predicting the recorded action: cross-entropy of a softmax (with `learner.sampled_negatives`, a sampled "
        "softmax with a correction for the sampling), or generalised binary cross-entropy (gSASRec).",
    )
    gbce_calibration: float = setting(
        0.75,
        "Calibration (t) of gBCE with sampled negatives: 0 is the plain binary cross-entropy, which is overconfident.",
        ge=0.0,
        le=1.0,
    )
    distillation_weight: float = setting(
        0.0,
        "Weight of the Kullback-Leibler divergence of the policy head from the policy of the agent that training starts "
        "from. 0: off.",
        ge=0.0,
    )
    iql_expectile: float = setting(
        0.0,
        "Expectile (tau) of the state value in implicit Q-learning; targets then bootstrap from that value. Useful values "
        "are between 0.5 and 1. 0: off.",
        ge=0.0,
        lt=1.0,
        known_as=("iql_tau", "expectile"),
    )
    awr_beta: float = setting(
        0.0,
        "Inverse temperature (beta) of advantage-weighted cloning: recorded actions that did better than the value of their "
        "state get more weight. 0: all get the same weight.",
        unit="per mean absolute advantage",
        ge=0.0,
    )

    novelty_weight: float = setting(
        -math.inf,
        "Weight of the loss of the novelty head, which learns how many new observations each action leads to. 0: off. "
        "'auto': 0.1 in a run with an environment and `exploration.novelty` above 0, but 0 with a discount of 0 or "
        "`learner.gradient_accumulation_steps` above 1.",
        ge=0.0,
        auto=-math.inf,
    )

    cost_limit: float = setting(
        -1.0,
        "Largest mean cost per episode, if the environment reports info['cost'] at every step: the agent maximises the "
        "return within this limit. -1: no limit.",
        unit="cost per episode",
        ge=-1.0,
        known_as=("safety_budget", "cost_threshold"),
    )
    robust_weight: float = setting(
        0.0,
        "Weight of keeping the lead of the greedy action when numbers and pictures are moved a little (the regulariser of "
        "SA-DQN). An update then takes two to three times as long. 0: off.",
        ge=0.0,
        known_as=("kappa", "sa_dqn"),
    )
    robust_epsilon: float = setting(
        0.05,
        "With `robust_weight`: how far each number may be moved, in units of what the network divides it by (half the range, "
        "or the standard deviation); each pixel, as a share of full brightness.",
        unit="units of the leaf",
        gt=0.0,
        known_as=("epsilon_ball",),
    )
    robust_margin: float = setting(
        0.2,
        "With `robust_weight`: the lead of the greedy action beyond which nothing more is gained. A margin above the usual "
        "difference between two actions' values works against the values themselves.",
        unit="return scales",
        ge=0.0,
    )
    robust_steps: int = setting(
        1, "With `robust_weight`: steps along the sign of the gradient that move the observations.", unit="steps", ge=1
    )

    def __post_init__(self) -> None:
        check(self, "objective")
        if -1.0 < self.cost_limit < 0.0:
            raise ConfigError(f"objective.cost_limit: expected at least 0, or -1 for no limit, got {self.cost_limit}")
        if self.cost_limit >= 0.0 and (self.td_weight == 0.0 or self.iql_expectile > 0.0):
            raise ConfigError(
                "objective.cost_limit: needs Q-learning (td_weight > 0) without an expectile (iql_expectile = 0), got "
                f"{self.td_weight} and {self.iql_expectile}"
            )
        if self.n_step > 1 and self.lambda_ > 0:
            raise ConfigError(
                f"objective.n_step = {self.n_step} needs lambda_ = 0, got {self.lambda_}: set one or the other"
            )
        if self.td_weight == 0.0 and self.cloning_weight == 0.0:
            raise ConfigError(
                "objective: expected td_weight > 0 or cloning_weight > 0, got neither: nothing would be learned"
            )
        if self.awr_beta > 0.0 and not (self.iql_expectile > 0.0 and self.cloning_weight > 0.0):
            raise ConfigError(
                "objective.awr_beta: needs iql_expectile > 0 (a state value to compare with) and cloning_weight > 0 (what it "
                f"weights), got {self.iql_expectile} and {self.cloning_weight}"
            )
        if self.novelty_weight > 0.0 and self.discount == 0.0:
            raise ConfigError(
                f"objective.novelty_weight = {self.novelty_weight} needs a discount above 0, got 0: with it every step "
                "counts as the end of the episode. Set novelty_weight to 0 or leave it at 'auto'"
            )
