"""The targets of the novelty head, worked out by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from seqel.losses.config import ObjectiveConfig
from seqel.losses.terms.novelty import DISCOUNT, NOVELTY, SMALLEST_VARIANCE, novelty_targets
from seqel.losses.terms.term import TermInput
from seqel.types import QOutput, SequenceBatch

G = DISCOUNT


def given(
    online: Tensor, target: Tensor, *, novelty: list[float], discount: list[float], first: bool = True
) -> TermInput:
    """One window of one action dimension; online and target (T+1, A). Action 0 is always taken."""
    steps = len(novelty)
    yes = torch.ones(1, steps, dtype=torch.bool)
    is_first = torch.zeros(1, steps + 1, dtype=torch.bool)
    is_first[0, 0] = first
    batch = SequenceBatch(
        observation={"x": torch.zeros(1, steps + 1, 1)},
        action=torch.zeros(1, steps, 1, dtype=torch.int64),
        reward=torch.full((1, steps), 100.0),
        discount=torch.tensor([discount]),
        is_first=is_first,
        valid=yes,
        loss_mask=yes,
        start_step=torch.zeros(1, dtype=torch.int64),
        previous_action=torch.zeros(1, 1, dtype=torch.int64),
        previous_reward=torch.zeros(1),
        novelty=torch.tensor([novelty]),
    )
    q = torch.zeros(1, steps + 1, 1, 2)
    out = [QOutput(q, novelty=values[None, :, None, :]) for values in (online, target)]
    return TermInput(batch, out[0], out[1], torch.ones(()), ObjectiveConfig(lambda_=0.0), None, None, None)


def test_targets_by_hand() -> None:
    """The reward and its discount do not matter; action 1 is greedy at step 1 only, so the return is cut before it."""
    online = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 0.0]])
    target = torch.tensor([[9.0, 0.0], [7.0, 5.0], [4.0, 8.0], [6.0, 0.0]])
    step = given(online, target, novelty=[1.0, 0.0, 0.5], discount=[0.9, 0.9, 0.9])
    last = 0.5 + G * 6.0
    second = 0.0 + G * (0.1 * 4.0 + 0.9 * last)  # double Q: the online network prefers action 0 at step 2
    first = 1.0 + G * 5.0  # cut: at step 1 the action was not greedy, so it bootstraps from action 1 there
    assert novelty_targets(step).flatten().tolist() == pytest.approx([first, second, last])


def test_a_termination_is_followed_by_another_first_observation() -> None:
    online = target = torch.tensor([[3.0, 1.0], [2.0, 0.0], [50.0, 0.0]])
    step = given(online, target, novelty=[0.0, 1.0], discount=[0.99, 0.0])
    last = 1.0 + G * 3.0  # the value of the first observation, not that of the terminal one
    assert novelty_targets(step).flatten().tolist() == pytest.approx([G * (0.1 * 2.0 + 0.9 * last), last])
    without = given(online, target, novelty=[0.0, 1.0], discount=[0.99, 0.0], first=False)
    assert novelty_targets(without)[0, 1].item() == pytest.approx(1.0), "no first observation in the batch"


def test_the_error_is_divided_by_the_variance_of_the_targets() -> None:
    online = torch.zeros(3, 2, requires_grad=True)
    step = given(online, torch.zeros(3, 2), novelty=[1.0, 0.0], discount=[0.0, 0.0])
    loss, reported = NOVELTY.loss(step)
    assert reported.flatten().tolist() == [1.0, 0.0]
    assert loss.flatten().tolist() == pytest.approx([1.0 / 0.25, 0.0])
    loss.sum().backward()
    assert online.grad is not None and online.grad[0, 0].item() == pytest.approx(-8.0)
    assert online.grad.abs().sum().item() == pytest.approx(8.0), "only the action that was taken"
    alike = given(torch.ones(3, 2), torch.zeros(3, 2), novelty=[0.0, 0.0], discount=[0.0, 0.0])
    assert NOVELTY.loss(alike)[0].flatten().tolist() == pytest.approx([1 / SMALLEST_VARIANCE] * 2)


def test_masked_actions_are_not_expected_to_be_taken() -> None:
    values = torch.tensor([[0.0, 0.0], [1.0, 9.0]])
    step = given(values, values, novelty=[0.0], discount=[0.9])
    mask = torch.tensor([[[[True, True]], [[True, False]]]])
    step = dataclasses.replace(step, batch=dataclasses.replace(step.batch, action_mask=mask))
    assert novelty_targets(step).item() == pytest.approx(G * 1.0)
