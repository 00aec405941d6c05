"""The regulariser of SA-DQN: its value and gradient by hand, masks, and several dimensions."""

from __future__ import annotations

import math

import pytest
import torch

from seqel.losses.terms.robustness import greedy_margin, margin_loss

CLEAN = torch.tensor([[1.0, 3.0, 0.0]])  # action 1 is greedy


@pytest.mark.parametrize(
    ("moved", "margin", "wanted"),
    [
        ([2.0, 1.0, 4.0], 1.0, 3.0),  # action 2 exceeds it by 3
        ([0.0, 3.0, 2.5], 1.0, -0.5),  # it still leads, by less than the margin
        ([0.0, 3.0, 2.5], 0.2, -0.2),  # it leads by more
        ([0.0, 3.0, 2.5], 0.0, 0.0),
    ],
)
def test_the_hinge_by_hand(moved: list[float], margin: float, wanted: float) -> None:
    assert margin_loss(CLEAN, torch.tensor([moved]), margin).item() == pytest.approx(wanted)


def test_the_gradient_raises_the_greedy_action_and_lowers_the_best_other() -> None:
    """A broken sign would do the opposite. The clean values get none, and beyond the margin there is none."""
    clean, moved = CLEAN.clone().requires_grad_(), torch.tensor([[2.0, 1.0, 4.0]], requires_grad=True)
    margin_loss(clean, moved, 1.0).sum().backward()
    assert moved.grad is not None and moved.grad.tolist() == [[0.0, -1.0, 1.0]]
    assert clean.grad is None
    far = torch.tensor([[0.0, 9.0, 0.0]], requires_grad=True)
    margin_loss(CLEAN, far, 1.0).sum().backward()
    assert far.grad is not None and far.grad.abs().sum() == 0.0


def test_masked_actions_neither_lead_nor_follow() -> None:
    mask = torch.tensor([[True, True, False]])
    assert greedy_margin(CLEAN, torch.tensor([[2.0, 1.0, 4.0]]), mask).item() == 1.0
    first = torch.tensor([[True, False, True]])
    assert greedy_margin(CLEAN, torch.tensor([[2.0, 1.0, 4.0]]), first).item() == 2.0, "action 0 is greedy now"


def test_a_single_allowed_action_costs_nothing() -> None:
    moved = torch.tensor([[2.0, 1.0, 4.0]], requires_grad=True)
    loss = margin_loss(CLEAN, moved, 0.5, torch.tensor([[False, True, False]]))
    loss.sum().backward()
    assert loss.item() == -0.5 and moved.grad is not None and moved.grad.isfinite().all()
    assert greedy_margin(CLEAN, moved, torch.tensor([[False, True, False]])).item() == -math.inf


def test_each_dimension_has_its_own_greedy_action() -> None:
    clean = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    moved = torch.tensor([[[0.0, 2.0], [0.0, 5.0]]])
    assert greedy_margin(clean, moved).tolist() == [[2.0, -5.0]]
