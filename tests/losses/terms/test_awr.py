"""Weights of advantage-weighted regression."""

from __future__ import annotations

import math

import pytest
import torch

from seqel.losses.terms.awr import advantage_weight


def test_advantage_weight_is_relative_to_the_mean_advantage_of_trained_steps() -> None:
    advantage = torch.tensor([[[1.0], [-3.0], [1e6]]])
    learn = torch.tensor([[True, True, False]])
    weight = advantage_weight(advantage, 2.0, learn).flatten().tolist()
    assert weight[:2] == pytest.approx([math.exp(1.0), math.exp(-3.0)])
    assert weight[2] == 20.0, "clipped"
    same = advantage_weight(advantage * 100, 2.0, learn).flatten().tolist()
    assert same == pytest.approx(weight), "the unit of reward does not matter"
