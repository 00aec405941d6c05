"""Behaviour cloning."""

from __future__ import annotations

import math

import pytest
import torch

from seqel.losses.terms.cloning import cloning_loss, gbce_loss
from seqel.values.policy import log_policy

ACTION = torch.tensor([[[1]]])


def test_cloning_loss_is_the_cross_entropy_of_the_recorded_action() -> None:
    logits = torch.tensor([[[[0.0, math.log(3.0), 7.0]]]])
    assert cloning_loss(logits, ACTION, torch.tensor([[[[True, True, False]]]])).item() == pytest.approx(
        math.log(4 / 3)
    )
    assert log_policy(logits[..., :2]).exp().flatten().tolist() == pytest.approx([0.25, 0.75])


def test_gbce_by_hand() -> None:
    logits = torch.log(torch.tensor([[[[1.0, 3.0, 4.0]]]]))  # sigmoids 1/2, 3/4, 4/5
    whole = gbce_loss(logits, ACTION, 0.75)
    assert whole.item() == pytest.approx(-math.log(3 / 4) - math.log(1 / 2) - math.log(1 / 5))
    masked = gbce_loss(logits, ACTION, 0.75, torch.tensor([[[[True, True, False]]]]))
    assert masked.item() == pytest.approx(-math.log(3 / 4) - math.log(1 / 2))
    # two of eight other actions are sampled: alpha = 1/4, beta = 1/4 (t (1 - 4) + 4)
    log_count = torch.tensor([[[[math.log(4.0), 0.0, math.log(4.0)]]]])
    for calibration, beta in ((0.0, 1.0), (0.75, 0.4375), (1.0, 0.25)):
        found = gbce_loss(logits, ACTION, calibration, None, log_count)
        assert found.item() == pytest.approx(-beta * math.log(3 / 4) - math.log(1 / 2) - math.log(1 / 5))


def test_gbce_is_finite_for_large_logits() -> None:
    logits = torch.tensor([[[[80.0, -80.0, 0.0]]]], requires_grad=True)
    loss = gbce_loss(logits, ACTION, 0.5).sum()
    loss.backward()
    assert loss.item() == pytest.approx(160.0 + math.log(2.0)) and logits.grad is not None
    assert torch.isfinite(logits.grad).all()
