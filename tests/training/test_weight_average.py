"""The moving average of the weights: hand-worked numbers."""

from __future__ import annotations

import pytest
import torch

from seqel.networks.qnetwork import QNetwork
from seqel.training.weight_average import WeightAverage
from support import network


def set_to(source: QNetwork, value: float) -> None:
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.fill_(value)


def mean(average: WeightAverage) -> float:
    values = torch.cat([parameter.flatten() for parameter in average.network.parameters()])
    assert values.min() == values.max()
    return float(values[0])


def test_hand_worked_numbers() -> None:
    source = network()
    set_to(source, 5.0)
    average = WeightAverage(source, rate=0.5)
    set_to(source, 1.0)
    average.follow(1)  # max(0.5, 1 / 1) = 1: nothing of the initial weights is left
    assert mean(average) == 1.0
    set_to(source, 2.0)
    average.follow(6)  # max(0.5, 1 / 1.5) = 2 / 3
    assert mean(average) == pytest.approx(1 + 2 / 3)
    set_to(source, 0.0)
    average.follow(1_000)  # max(0.5, 1 / 100.9) = 0.5
    assert mean(average) == pytest.approx((1 + 2 / 3) / 2)


def test_a_rate_of_one_gives_the_latest_weights() -> None:
    source = network()
    average = WeightAverage(source, rate=1.0)
    set_to(source, 3.0)
    average.follow(10_000)
    assert mean(average) == 3.0


def test_the_source_is_left_alone_and_the_average_needs_no_gradient() -> None:
    source = network()
    average = WeightAverage(source, rate=0.1)
    before = {name: value.clone() for name, value in source.state_dict().items()}
    average.follow(500)
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in before.items())
    assert all(parameter.requires_grad for parameter in source.parameters())
    assert not any(parameter.requires_grad for parameter in average.network.parameters())


def test_restart_copies_statistics_and_unit() -> None:
    source = network()
    average = WeightAverage(source, rate=0.1)
    set_to(source, 2.0)
    source.rescale(4.0)
    average.restart()
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in average.network.state_dict().items())
