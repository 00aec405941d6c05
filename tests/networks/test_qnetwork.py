"""The whole network: any observation, either trunk, by window or by step; and which configurations it refuses."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from seqel.errors import ConfigError
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, ObservationSpec
from support import batch, network, same_q, step_through

EVERYTHING = gym.spaces.Dict(
    {
        "picture": gym.spaces.Box(0, 255, (24, 24, 3), np.uint8),
        "codes": gym.spaces.Box(0, 10, (5, 5, 3), np.uint8),
        "parts": gym.spaces.Tuple((gym.spaces.Discrete(4, start=-1), gym.spaces.MultiBinary(3))),
        "words": gym.spaces.Text(12),
        "numbers": gym.spaces.Box(-np.inf, np.inf, (2, 2), np.float32),
    }
)


@pytest.mark.parametrize("trunk", ["transformer", "gru"])
@pytest.mark.parametrize("off", ["previous_action", "previous_reward", "first_step", "clock", None])
def test_rule_1_on_every_kind_of_observation_and_with_each_part_off(trunk: str, off: str | None) -> None:
    torch.manual_seed(0)
    spec = ObservationSpec.from_space(EVERYTHING)
    settings: dict[str, Any] = {} if off is None else {off: False}
    config = NetworkConfig(trunk=trunk, width=16, heads=2, context=3, **settings)  # type: ignore[arg-type]
    net = QNetwork(config, spec, ActionSpec((3,), (0,))).eval()
    with torch.no_grad():
        net.get_parameter("head.advantage.weight").normal_()
    EVERYTHING.seed(0)
    flat = [[spec.flatten(EVERYTHING.sample(), None) for _ in range(13)] for _ in range(2)]
    leaves = {
        path: torch.from_numpy(np.stack([np.stack([one[path] for one in row]) for row in flat]))
        for path in spec.storage
    }
    windows = dataclasses.replace(batch(), observation=leaves)
    with torch.no_grad():
        whole = net(windows).q
        same_q(step_through(net, windows), whole)
        assert whole.shape == (2, 13, 1, 3) and (whole.diff(dim=1).abs().amax(dim=(0, 2, 3)) > 1e-4).all()


def test_rule_7_statistics_are_buffers_that_learning_and_acting_share() -> None:
    net = network()
    (encoder,) = net.tokens.vectors().values()
    encoder.observe(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 5.0, 6.0]))
    names = {name for name, _ in net.named_buffers()}
    assert {"tokens.encoders.0.mean", "tokens.encoders.0.scale", "head.scale"} <= names & set(net.state_dict())
    assert not {name for name, _ in net.named_parameters()} & names, "no optimiser moves them"
    windows = batch()
    with torch.no_grad():
        same_q(step_through(net, windows), net(windows).q)


def test_rule_8_action_dimensions_go_through() -> None:
    torch.manual_seed(0)
    spec = ObservationSpec.from_space(gym.spaces.Box(-np.inf, np.inf, (3,), np.float32))
    net = QNetwork(NetworkConfig(width=16, heads=2, context=4), spec, ActionSpec((3, 2), (0, 0))).eval()
    with torch.no_grad():
        net.get_parameter("head.advantage.weight").normal_()
    windows = batch(actions=2)
    windows = dataclasses.replace(
        windows, action=windows.action.repeat(1, 1, 2), previous_action=windows.previous_action.repeat(1, 2)
    )
    moved = windows.action.clone()
    moved[:, 3, 1] = 1 - moved[:, 3, 1]
    with torch.no_grad():
        q = net(windows).q
        assert q.shape == (2, 13, 2, 3)
        same_q(step_through(net, windows), q)
        other = net(dataclasses.replace(windows, action=moved)).q
    assert torch.equal(other[:, :4], q[:, :4]) and not torch.allclose(other[:, 4], q[:, 4]), "each dimension is seen"


def test_padding_never_changes_a_value_before_it() -> None:
    net = network(context=20)
    windows = batch(steps=12)
    seen, action, reward = windows.observation["observation"].clone(), windows.action.clone(), windows.reward.clone()
    seen[:, 9:], action[:, 8:], reward[:, 8:] = 1e6, 2, -1e6
    other = dataclasses.replace(windows, observation={"observation": seen}, action=action, reward=reward)
    with torch.no_grad():
        assert torch.equal(net(other).q[:, :9], net(windows).q[:, :9])


def test_invalid_networks_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"network\.context: expected at least 1 step"):
        network(context=0)
    with pytest.raises(ConfigError, match="attention weights need trunk = 'transformer'"):
        network(trunk="gru").attention(batch())


@pytest.mark.parametrize(
    "settings",
    [{"width": 30}, {"heads": 3}, {"layers": 0}, {"context": -1}, {"dropout": 1.0}, {"bins": 1}, {"trunk": "lstm"},
     {"value": "c52"}, {"gate": "lstm"}, {"value_range": 0.0}, {"rope_base": 0.0}, {"clock_base": -1.0},
     {"dropout": float("nan")}],
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"network\."):
        NetworkConfig(**settings)


@pytest.mark.parametrize("scale", [0.01, 3.0, 100.0])
def test_another_unit_does_not_change_the_state_value(scale: float) -> None:
    net = network(state_value=True)
    windows = batch()
    with torch.no_grad():
        before = net(windows).value
        net.rescale(scale)
        after = net(windows).value
    assert before is not None and before.abs().max() > 0.1
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)
