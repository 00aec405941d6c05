"""Squared and Huber error against hand-computed numbers."""

from __future__ import annotations

import torch

from seqel.values.scalar import huber, squared


def test_squared_and_huber_by_hand() -> None:
    error = torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.5, 2.0])
    # e^2 / 2
    assert squared(error).tolist() == [4.5, 0.5, 0.125, 0.0, 0.125, 2.0]
    # delta 1: beyond 1, |e| - 1/2
    assert huber(error).tolist() == [2.5, 0.5, 0.125, 0.0, 0.125, 1.5]
    # delta 2: -3 -> 2 (3 - 1) = 4; the rest as squared
    assert huber(error, 2.0).tolist() == [4.0, 0.5, 0.125, 0.0, 0.125, 2.0]


def test_gradients_of_the_errors() -> None:
    error = torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
    for function, expected in ((squared, error.tolist()), (huber, error.clamp(-1, 1).tolist())):
        leaf = error.clone().requires_grad_()
        function(leaf).sum().backward()
        assert leaf.grad is not None
        assert leaf.grad.tolist() == expected
