"""A pruned network is the full network without the removed parts, and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from seqel.compression.pruning import Kept, prune, width_fits
from seqel.compression.shape import parameters_of
from seqel.errors import ConfigError
from seqel.networks.qnetwork import QNetwork
from seqel.types import SequenceBatch
from support import batch, network, same_q, step_through


def block(net: QNetwork, layer: int) -> Any:
    return net.trunk.get_submodule(f"blocks.{layer}")


def q_of(net: QNetwork, windows: SequenceBatch) -> torch.Tensor:
    with torch.no_grad():
        return net(windows).q


def some(net: QNetwork, *, heads: list[list[int]], units: list[list[int]], layers: list[int]) -> Kept:
    channels = np.arange(net.config.width)
    return Kept(np.array(layers), np.array(heads), np.array(units), channels)


def test_keeping_everything_changes_nothing_at_all(net: QNetwork, windows: Sequence[SequenceBatch]) -> None:
    same = prune(net, Kept.everything(net.config))
    assert torch.equal(q_of(same, windows[0]), q_of(net, windows[0]))
    assert same.config.attention_dim == net.config.attention_dim and same.config.units == net.config.units


def test_removing_a_head_and_units_that_nothing_uses_changes_nothing(net: QNetwork) -> None:
    windows = batch(steps=30)
    with torch.no_grad():
        for layer in range(3):
            block(net, layer).out.weight[:, 8:] = 0.0  # head 1
            block(net, layer).mlp_out.weight[:, ::2] = 0.0  # every second unit
    kept = some(net, layers=[0, 1, 2], heads=[[0]] * 3, units=[list(range(1, 64, 2))] * 3)
    small = prune(net, kept)
    assert small.config.heads == 1 and small.config.units == 32
    same_q(q_of(small, windows), q_of(net, windows))
    same_q(step_through(small, windows), q_of(small, windows))  # with the smaller ring


@pytest.mark.parametrize("settings", [{}, {"qk_norm": True}, {"value": "hl-gauss", "dueling": True}])
def test_a_pruned_network_is_the_full_one_with_these_parts_set_to_zero(settings: dict[str, Any]) -> None:
    """Other heads and units in each layer, and a layer less. The same sums, so only their rounding differs."""
    net = network(layers=3, heads=4, width=16, **settings)
    heads, units = [[0, 3], [1, 2]], [[5, 9, 60], [0, 1, 63]]
    small = prune(net, some(net, layers=[0, 2], heads=heads, units=units))
    zeroed = copy.deepcopy(net)
    with torch.no_grad():
        for layer, head, unit in zip((0, 2), heads, units, strict=True):
            gone = torch.ones(16, dtype=torch.bool)
            gone.view(4, 4)[head] = False
            block(zeroed, layer).out.weight[:, gone] = 0.0
            gone = torch.ones(64, dtype=torch.bool)
            gone[unit] = False
            block(zeroed, layer).mlp_out.weight[:, gone] = 0.0
        for parameter in (block(zeroed, 1).out.weight, block(zeroed, 1).mlp_out.weight, block(zeroed, 1).mlp_out.bias):
            parameter.zero_()
    windows = batch(steps=20)
    same_q(q_of(small, windows), q_of(zeroed, windows))
    assert (q_of(small, windows) - q_of(net, windows)).abs().max() > 1e-2


def test_the_given_network_is_not_changed(net: QNetwork) -> None:
    before = copy.deepcopy(net.state_dict())
    small = prune(net, some(net, layers=[1], heads=[[1]], units=[[3]]))
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.zero_()
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_channels_are_removed_from_every_part_alike(net: QNetwork) -> None:
    """The values of the heads and encoders are those of the kept channels, and the clock still knows the step."""
    channels = np.array([0, 2, 3, 5, 8, 9, 11, 15])
    small = prune(net, replace(Kept.everything(net.config), channels=channels))
    assert small.config.width == 8 and small.config.attention_dim == 8 and small.config.units == 64
    assert torch.equal(
        small.head.get_parameter("advantage.weight"), net.head.get_parameter("advantage.weight")[:, channels]
    )
    assert torch.equal(small.tokens.first, net.tokens.first[channels])
    assert torch.equal(block(small, 1).qkv.weight, block(net, 1).qkv.weight[:, channels])
    assert parameters_of(small).total < parameters_of(net).total
    windows = batch(steps=12)
    same_q(step_through(small, windows), q_of(small, windows))


def test_the_fitted_clock_is_close_to_the_kept_channels_of_a_smooth_one(net: QNetwork) -> None:
    trunk: Any = net.trunk
    with torch.no_grad():  # sinusoids that few frequencies express: only the slowest ones have weight
        trunk.clock.weight.zero_()
        trunk.clock.weight[7], trunk.clock.weight[15] = 1.0, 1.0
    small: Any = prune(net, replace(Kept.everything(net.config), channels=np.arange(8)), horizon=20).trunk
    steps = torch.arange(20)
    full = trunk.clock(trunk._waves(steps)[:, 2 * trunk.dim :])[:, :8]
    few = small.clock(small._waves(steps)[:, 2 * small.dim :])
    assert (full - few).abs().max() < 0.05 * full.abs().max()


def test_a_width_that_an_encoder_or_a_gate_depends_on_is_refused() -> None:
    assert width_fits(network(), 8)
    gated = network(gate="gru")
    assert not width_fits(gated, 8)
    embedded = QNetwork(
        replace(gated.config, gate="residual", actions="embedded"), gated.observation_spec, gated.action_spec
    )
    assert not width_fits(embedded, 8)
    with pytest.raises(ConfigError, match="width"):
        prune(gated, replace(Kept.everything(gated.config), channels=np.arange(8)))


def test_a_recurrent_network_is_refused() -> None:
    net = network(trunk="gru")
    with pytest.raises(ConfigError, match="transformer"):
        prune(net, Kept.everything(net.config))
