"""Distillation: the divergence by hand, masks, and no gradient where nothing has to change."""

from __future__ import annotations

import math

import pytest
import torch

from seqel.losses.terms.distillation import distillation_loss


def test_the_divergence_by_hand() -> None:
    """Of (1/4, 3/4) from (1/2, 1/2), and the other way round."""
    even, uneven = torch.zeros(1, 2), torch.tensor([[0.0, math.log(3.0)]])
    assert distillation_loss(uneven, even).item() == pytest.approx(0.5 * math.log(2.0) + 0.5 * math.log(2 / 3))
    assert distillation_loss(even, uneven).item() == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5))


def test_masked_actions_do_not_count() -> None:
    reference, logits = torch.tensor([[0.0, 0.0, 9.0]]), torch.tensor([[0.0, math.log(3.0), -9.0]])
    mask = torch.tensor([[True, True, False]])
    expected = 0.5 * math.log(2.0) + 0.5 * math.log(2 / 3)
    assert distillation_loss(logits, reference, mask).item() == pytest.approx(expected, abs=1e-6)
    nothing = distillation_loss(logits.requires_grad_(True), reference, torch.zeros(1, 3, dtype=torch.bool))
    nothing.sum().backward()
    assert nothing.isfinite().all() and logits.grad is not None and logits.grad.isfinite().all()


def test_the_same_policy_has_no_gradient() -> None:
    logits = torch.tensor([[0.3, -1.0, 2.0]], requires_grad=True)
    found = distillation_loss(logits, logits.detach() + 5.0)  # a constant changes no probability
    found.sum().backward()
    assert found.item() == pytest.approx(0.0, abs=1e-6) and logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.zeros(1, 3), atol=1e-6, rtol=0.0)
