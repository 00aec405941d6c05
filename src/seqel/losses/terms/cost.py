"""Q-learning on costs: a second value of each action, so that a constraint can weigh it against the value of reward.

The greedy action maximises Q - multiplier * C, where C is the discounted cost ahead. Both are values of this greedy policy,
so the targets of both continue with its action. The multiplier is set outside of the gradient step
(`training/online/multiplier.py`). There are two values instead of one value of reward - multiplier * cost, because neither
depends on the multiplier except through the policy: old targets stay valid when the multiplier changes, and it may be
changed after training.
Source: Borkar 2005, "An actor-critic algorithm for constrained Markov decision processes". Differs: Q-learning on replayed
sequences, and a greedy policy.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from seqel.errors import ConfigError
from seqel.losses.targets import q_targets
from seqel.losses.td import action_values, masked_mean
from seqel.losses.terms.term import Term, TermInput
from seqel.types import QOutput

__all__ = ["COST", "cost_targets"]

SMALLEST_VARIANCE = 1e-4  # cost^2: where nothing costs anything, the term has little influence


def cost_targets(step: TermInput) -> Tensor:
    """Return the target of each step's cost value, in units of cost.  -> (B, T), no gradient.

    Raises:
        ConfigError: the batch has no costs.
    """
    batch, online, target = step.batch, step.online, step.target
    if batch.cost is None:
        raise ConfigError("objective.cost_limit: expected a cost for every step, got data without costs")
    assert online.cost is not None and target.cost is not None
    own = dataclasses.replace(batch, reward=batch.cost, policy=None)
    now, slow = (QOutput(one.detach(), available=online.available) for one in (online.cost, target.cost))
    chooser = online if step.config.double else target
    return q_targets(own, now, slow, step.config, prefer=chooser.preference.detach())[..., 0]


def _loss(step: TermInput) -> tuple[Tensor, Tensor]:
    assert step.online.cost is not None
    goal = cost_targets(step)
    with torch.no_grad():  # the variance of the targets makes the weight independent of the unit of cost
        mask = step.batch.loss_mask
        variance = masked_mean((goal - masked_mean(goal, mask)).square(), mask).clamp(min=SMALLEST_VARIANCE)
    cost = action_values(step.online.cost[:, :-1], step.batch.action)[..., 0]
    return (cost - goal).square() / variance, goal


COST = Term(
    name="cost_ahead",
    unit="cost",
    meaning="cost ahead, discounted: the target of the cost head",
    setting="cost_limit",
    head="cost",
    loss=_loss,
    reads_target=True,
    disabled_at=-1.0,
    weighted=False,
)
