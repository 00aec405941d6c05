"""The targets of the cost head, worked out by hand, and the choice between reward and cost."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from seqel.errors import ConfigError
from seqel.losses.config import ObjectiveConfig
from seqel.losses.objective import step_loss
from seqel.losses.terms.cost import COST, SMALLEST_VARIANCE, cost_targets
from seqel.losses.terms.term import TermInput
from seqel.types import QOutput, SequenceBatch

G = 0.9
Q = torch.tensor([[0.0, 0.0], [1.0, 3.0], [0.0, 0.0]])  # action 1 is worth more at step 1 ...
C = torch.tensor([[0.0, 0.0], [0.5, 2.0], [0.0, 0.0]])  # ... and costs more


def given(multiplier: float, *, config: ObjectiveConfig | None = None, cost: Tensor | None = None) -> TermInput:
    """Two steps with the costs 1 and 4, after which the episode ends. Action 0 is always taken."""
    yes = torch.ones(1, 2, dtype=torch.bool)
    batch = SequenceBatch(
        observation={"x": torch.zeros(1, 3, 1)},
        action=torch.zeros(1, 2, 1, dtype=torch.int64),
        reward=torch.tensor([[10.0, 20.0]]),
        discount=torch.tensor([[G, 0.0]]),
        is_first=torch.tensor([[True, False, False]]),
        valid=yes,
        loss_mask=yes,
        start_step=torch.zeros(1, dtype=torch.int64),
        previous_action=torch.zeros(1, 1, dtype=torch.int64),
        previous_reward=torch.zeros(1),
        cost=torch.tensor([[1.0, 4.0]]) if cost is None else cost,
    )
    out = QOutput(Q[None, :, None], cost=C[None, :, None], penalty=multiplier * C[None, :, None])
    config = config or ObjectiveConfig(lambda_=0.0, cost_limit=1.0)
    return TermInput(batch, out, out, torch.ones(()), config, None, None, None)


@pytest.mark.parametrize(
    ("multiplier", "cost", "value"),
    [(0.0, 2.0, 3.0), (1.0, 2.0, 3.0), (2.0, 0.5, 1.0)],  # 3 - 2 m against 1 - m / 2: equal at 4 / 3
)
def test_both_values_continue_with_the_action_that_the_multiplier_prefers(
    multiplier: float, cost: float, value: float
) -> None:
    step = given(multiplier)
    assert cost_targets(step).flatten().tolist() == pytest.approx([1.0 + G * cost, 4.0])
    found = step_loss(step.batch, step.online, step.target, torch.ones(()), step.config)
    assert found.target.flatten().tolist() == pytest.approx([10.0 + G * value, 20.0])
    assert found.terms[COST.name].flatten().tolist() == pytest.approx([1.0 + G * cost, 4.0])


@pytest.mark.parametrize("double", [True, False])
def test_the_target_network_decides_without_double_q_learning(double: bool) -> None:
    step = given(2.0, config=ObjectiveConfig(lambda_=0.0, double=double, cost_limit=1.0))
    step = dataclasses.replace(step, online=dataclasses.replace(step.online, penalty=torch.zeros(1, 3, 1, 2)))
    cost = 2.0 if double else 0.5  # the online network has no penalty here, the target network has
    assert cost_targets(step)[0, 0] == pytest.approx(1.0 + G * cost)


@pytest.mark.parametrize(("multiplier", "traced"), [(0.0, False), (2.0, True)])
def test_the_trace_is_cut_where_the_recorded_action_is_not_the_preferred_one(multiplier: float, traced: bool) -> None:
    """Action 0 was recorded at step 1; without a penalty action 1 is greedy there."""
    step = given(multiplier, config=ObjectiveConfig(lambda_=1.0, cost_limit=1.0))
    following = 4.0 if traced else 2.0
    assert cost_targets(step)[0, 0] == pytest.approx(1.0 + G * following)


def test_the_loss_is_in_units_of_the_variance_and_trains_the_cost_head_alone() -> None:
    step = given(0.0)
    leaf = C[None, :, None].clone().requires_grad_()
    q = Q[None, :, None].clone().requires_grad_()
    online = QOutput(q, cost=leaf, penalty=0.0 * leaf.detach())
    loss, reported = COST.loss(dataclasses.replace(step, online=online))
    goal = cost_targets(step)
    variance = max(float((goal - goal.mean()).square().mean()), SMALLEST_VARIANCE)
    wanted = (torch.tensor([[0.0, 0.5]]) - goal).square() / variance
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(reported, goal)
    torch.autograd.backward(loss.sum())
    assert leaf.grad is not None and leaf.grad.abs().sum() > 0
    assert q.grad is None


def test_data_without_costs_are_refused() -> None:
    step = given(0.0)
    with pytest.raises(ConfigError, match="expected a cost for every step"):
        cost_targets(dataclasses.replace(step, batch=dataclasses.replace(step.batch, cost=None)))


@pytest.mark.parametrize("limit", [-0.5, -2.0])
def test_a_limit_is_at_least_zero_or_off(limit: float) -> None:
    with pytest.raises(ConfigError, match="cost_limit"):
        ObjectiveConfig(cost_limit=limit)


def test_a_limit_of_zero_is_a_limit() -> None:
    assert COST.active(ObjectiveConfig(cost_limit=0.0))
    assert not COST.active(ObjectiveConfig())
    assert COST.weight(ObjectiveConfig(cost_limit=7.0)) == 1.0
