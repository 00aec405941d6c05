"""Q-learning on the novelty of observations instead of the reward: a second value of each action, for exploration.

`SequenceBatch.novelty` is the novelty of the observation that a step reached, in the episode and over the run. Values of
novelty are learned by Watkins's Q(lambda) with double Q-learning, like those of the reward. They have a head of their own, so
the values of the task do not change, and the weight of novelty may differ between environments (Badia et al. 2020,
arXiv:2002.06038).

A termination is followed by another episode, in which everything is new again: its value is the mean value of first
observations. Otherwise an agent that looks for novelty would avoid the end of an episode, and the reward that follows there.
Non-episodic novelty is due to Burda et al. 2019, arXiv:1810.12894. Differs: visits are counted again in each episode.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from seqel.losses.config import ObjectiveConfig
from seqel.losses.targets import allowed_actions, q_targets
from seqel.losses.td import action_values, masked_max, masked_mean, mean_over_dimensions
from seqel.losses.terms.term import Term, TermInput
from seqel.types import QOutput

__all__ = ["DISCOUNT", "NOVELTY", "novelty_targets"]

DISCOUNT = 0.97  # per step: about 30 steps ahead
RETURNS = ObjectiveConfig(lambda_=0.9, trace="watkins")
SMALLEST_VARIANCE = 0.1  # observations^2: once nothing is new, the term has little influence


def novelty_targets(step: TermInput) -> Tensor:
    """Return the target of each step's novelty value, in observations.  -> (B, T), no gradient."""
    batch, available = step.batch, step.online.available
    assert batch.novelty is not None and step.online.novelty is not None and step.target.novelty is not None
    online = QOutput(step.online.novelty.detach(), available=available)
    target = QOutput(step.target.novelty.detach(), available=available)
    best = mean_over_dimensions(masked_max(target.q, allowed_actions(batch, online)))  # (B, T+1)
    continues = batch.discount > 0
    again = masked_mean(best, batch.is_first) * (batch.valid & ~continues)
    own = dataclasses.replace(
        batch, reward=batch.novelty + DISCOUNT * again, discount=continues * DISCOUNT, policy=None
    )
    return q_targets(own, online, target, RETURNS)[..., 0]


def _loss(step: TermInput) -> tuple[Tensor, Tensor]:
    assert step.online.novelty is not None
    goal = novelty_targets(step)
    with torch.no_grad():  # the variance of the targets makes the weight independent of their size
        mask = step.batch.loss_mask
        variance = masked_mean((goal - masked_mean(goal, mask)).square(), mask).clamp(min=SMALLEST_VARIANCE)
    q = action_values(step.online.novelty[:, :-1], step.batch.action)[..., 0]
    return (q - goal).square() / variance, goal


NOVELTY = Term(
    name="novelty",
    unit="observations",
    meaning="new observations ahead, discounted: the target of the novelty head",
    setting="novelty_weight",
    head="novelty",
    loss=_loss,
    reads_target=True,
)
