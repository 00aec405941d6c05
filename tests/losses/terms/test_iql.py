"""IQL's loss of the state value."""

from __future__ import annotations

import pytest
import torch

from seqel.losses.terms.iql import expectile_loss


def test_expectile_loss_by_hand_and_at_its_minimum() -> None:
    assert expectile_loss(torch.tensor([2.0, -2.0]), 0.9).tolist() == pytest.approx([3.6, 0.4])
    values = torch.tensor([0.0, 1.0])  # the tau-expectile v of {0, 1} solves tau (1 - v) = (1 - tau) v: v = tau
    grid = torch.linspace(0, 1, 1001)
    best = grid[expectile_loss(values[:, None] - grid, 0.8).sum(dim=0).argmin()]
    assert best.item() == pytest.approx(0.8, abs=2e-3)
    with pytest.raises(ValueError, match="0 < tau < 1"):
        expectile_loss(values, 1.0)
