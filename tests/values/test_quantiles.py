"""The quantile Huber loss against a loop in float64."""

from __future__ import annotations

import pytest
import torch

from seqel.values.quantiles import Quantiles


def test_quantiles_against_a_loop() -> None:
    torch.manual_seed(2)
    values = Quantiles(5, delta=0.7)
    own, following = torch.randn(2, 4, 5, dtype=torch.float64)
    offset, factor = torch.randn(4, dtype=torch.float64), torch.rand(4, dtype=torch.float64)
    found = values.quantile_huber(own, following, offset, factor)
    for row in range(4):
        total = 0.0
        for i in range(5):
            for j in range(5):
                error = float(offset[row] + factor[row] * following[row, j] - own[row, i])
                huber = 0.5 * error**2 if abs(error) <= 0.7 else 0.7 * (abs(error) - 0.35)
                total += abs((i + 0.5) / 5 - (error < 0)) * huber / 0.7
        assert float(found[row]) == pytest.approx(total / 25, rel=1e-6)
