"""Heads and hidden units of any number: the defaults change nothing, and memory, export and checks follow the sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from seqel.agents.agent import Agent
from seqel.errors import ConfigError
from seqel.networks.config import NetworkConfig
from seqel.networks.trunks.gated import Gates, gated_forward
from seqel.networks.trunks.transformer import Transformer
from support import batch, network, same_q, step_through

SIZES: dict[str, Any] = {
    "width": 12,
    "heads": 3,
    "head_dim": 6,
    "hidden": 7,
}  # 3 * 6 is neither the width nor a divisor


def test_the_sizes_of_zero_are_those_that_width_and_feedforward_give() -> None:
    config = NetworkConfig(width=64, heads=4, feedforward=4)
    assert (config.attention_dim, config.units) == (16, 256)
    one = network(width=16, heads=2)
    other = network(width=16, heads=2, head_dim=8, hidden=64)
    for (name, first), (same, second) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert name == same and torch.equal(first, second)


@pytest.mark.parametrize("given", [{"head_dim": 5}, {"head_dim": -2}, {"hidden": -1}, {"width": 13, "head_dim": 4}])
def test_sizes_that_do_not_fit_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="network"):
        NetworkConfig(**given)


@pytest.mark.parametrize("gate", ["residual", "gru"])
def test_rule_1_steps_equal_forward_with_any_number_of_heads_and_units(gate: str) -> None:
    net = network(gate=gate, qk_norm=True, **SIZES)
    block = net.trunk.get_submodule("blocks.0")
    assert block.get_parameter("qkv.weight").shape == (3 * 18, 12)
    assert block.get_parameter("mlp_in.weight").shape == (7, 12)
    windows = batch(steps=30)
    with torch.no_grad():
        same_q(step_through(net, windows), net(windows).q)


def test_an_agent_with_such_sizes_is_saved_and_loaded(tmp_path: Path) -> None:
    net = network(**SIZES)
    loaded = Agent.load(Agent(net).save(tmp_path / "agent")).network
    assert loaded.config == net.config
    windows = batch()
    with torch.no_grad():
        assert torch.equal(loaded(windows).q, net(windows).q)


def test_the_work_of_a_forward_pass_counts_the_sizes() -> None:
    plain = NetworkConfig(width=16, heads=2, context=4)
    same = NetworkConfig(width=16, heads=2, context=4, head_dim=8, hidden=64)
    fewer = NetworkConfig(width=16, heads=1, context=4, head_dim=8, hidden=32)
    assert Transformer.flops(plain, 2, 8) == Transformer.flops(same, 2, 8) == 2 * Transformer.flops(fewer, 2, 8)


def test_gates_of_one_change_nothing() -> None:
    net, windows = network(**SIZES), batch()
    assert isinstance(net.trunk, Transformer)
    gates = Gates.ones(net.config, 2, torch.device("cpu"))
    with torch.no_grad():
        x = net.embed(windows)
        wanted = net.trunk(x, windows.is_first, windows.start_step)
        found = gated_forward(net.trunk, x, windows.is_first, windows.start_step, gates)
    assert torch.equal(found, wanted)
