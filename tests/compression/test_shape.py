"""The shape that is chosen: within the size, of the most important parts, and honest where the size cannot be reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from seqel.compression.importance import Importance, measure_importance
from seqel.compression.pruning import Kept, prune
from seqel.compression.shape import choose, parameters_of
from seqel.errors import ConfigError
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.types import SequenceBatch
from support import network


@pytest.mark.parametrize("size", [0.9, 0.5, 0.25, 0.1])
@pytest.mark.parametrize("settings", [{}, {"gate": "gru"}, {"qk_norm": True, "dueling": True, "clock": False}])
def test_the_size_is_respected_and_used(
    size: float, settings: dict[str, Any], windows: Sequence[SequenceBatch]
) -> None:
    if "gate" in settings and size < 0.5:
        pytest.skip("gates are not pruned: a layer's gates are half of it")
    net = network(layers=2, heads=4, width=32, **settings)
    kept = choose(net, measure_importance(net, windows, 0.5), size, windows, 0.5)
    before, after = parameters_of(net).total, parameters_of(prune(net, kept)).total
    assert after <= size * before
    assert after >= 0.6 * size * before  # it does not throw away more than it must


def test_the_most_important_parts_are_kept(net: QNetwork, windows: Sequence[SequenceBatch]) -> None:
    """Importance is given: head 1, units 10 to 13 and the first two layers matter, each channel does."""
    heads, units = np.zeros((3, 2)), np.zeros((3, 64))
    heads[:, 1], units[:, 10:14] = 1.0, 1.0
    given = Importance(np.array([50.0, 60.0, 0.1]), heads, units, np.full(16, 5.0))
    kept = choose(net, given, 0.3, windows, 0.5)
    assert kept.layers.tolist() == [0, 1] and len(kept.channels) == 16
    assert (kept.heads == 1).any(axis=1).all()
    assert all(set(range(10, 14)) <= set(row) for row in kept.units.tolist())


def test_a_size_of_one_keeps_everything(net: QNetwork, windows: Sequence[SequenceBatch]) -> None:
    kept = choose(net, measure_importance(net, windows, 0.5), 1.0, windows, 0.5)
    assert kept.config(net.config).width == 16 and len(kept.layers) == 3
    assert kept.units.shape == Kept.everything(net.config).units.shape


def test_a_size_that_pruning_cannot_reach_is_refused_with_the_place_of_the_parameters() -> None:
    """Convolutions do not depend on the width: they alone are more than the size allows."""
    space = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    config = NetworkConfig(width=16, heads=2, layers=1, context=4)
    net = QNetwork(config, ObservationSpec.from_space(space), ActionSpec((3,), (0,)))
    counted = parameters_of(net)
    assert counted.total == counted.blocks + counted.encoders + counted.heads
    flat = Importance(np.ones(1), np.ones((1, 2)), np.ones((1, 64)), np.ones(16))
    with pytest.raises(ConfigError, match=rf"pruning cannot reach .*{counted.encoders:,} in the encoders"):
        choose(net, flat, 0.25, [], 0.5)


def test_a_gated_network_keeps_its_width(windows: Sequence[SequenceBatch]) -> None:
    net = network(gate="gru", layers=2)
    kept = choose(net, measure_importance(net, windows, 0.5), 0.5, windows, 0.5)
    assert len(kept.channels) == net.config.width
    assert replace(kept.config(net.config), layers=2, heads=2, hidden=0, head_dim=0) == net.config
