"""Behaviour cloning."""

from __future__ import annotations

import math

import pytest
import torch

from seqel.losses.terms.cloning import cloning_loss
from seqel.values.policy import log_policy

ACTION = torch.tensor([[[1]]])


def test_cloning_loss_is_the_cross_entropy_of_the_recorded_action() -> None:
    logits = torch.tensor([[[[0.0, math.log(3.0), 7.0]]]])
    assert cloning_loss(logits, ACTION, torch.tensor([[[[True, True, False]]]])).item() == pytest.approx(
        math.log(4 / 3)
    )
    assert log_policy(logits[..., :2]).exp().flatten().tolist() == pytest.approx([0.25, 0.75])
