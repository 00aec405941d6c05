"""Training options for robustness: the adversary, the regulariser in an update, noise, hidden steps; and no cost if off."""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from seqel.errors import ConfigError
from seqel.losses.config import ObjectiveConfig
from seqel.losses.terms.robustness import greedy_margin
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.robustness.gradient import ascend
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.training.adversary import move_observations
from seqel.training.augmentation import add_noise
from seqel.training.learner import Learner
from seqel.training.learner_config import LearnerConfig
from support import batch, network

LEARNER = LearnerConfig(learning_rate=1e-3, target_rate=0.05, warmup=0, schedule="constant")
ROBUST: dict[str, Any] = {"robust_weight": 1.0, "robust_epsilon": 0.1, "robust_margin": 5.0}


def learner(net: QNetwork | None = None, learner_settings: dict[str, Any] | None = None, **objective: Any) -> Learner:
    config = dataclasses.replace(LEARNER, **(learner_settings or {}))
    return Learner(network() if net is None else net, ObjectiveConfig(discount=0.9, **objective), config)


def lead(net: QNetwork, moved: Any, windows: Any) -> torch.Tensor:
    with torch.no_grad():
        return greedy_margin(net(windows).q, net(moved).q)[:, :-1]


# -- the ascent ------------------------------------------------------------------------------------------------------------


def test_one_step_is_the_sign_of_the_gradient_by_hand() -> None:
    """The slope of x^2 - 3 y at (1, 2) is (2, -3): with radius 0.5 to (1.5, 1.5); a bound of 1.2 is kept."""
    start = {"x": torch.tensor([1.0]), "y": torch.tensor([2.0])}
    radius = {name: torch.tensor([0.5]) for name in start}
    found = ascend(lambda at: (at["x"] ** 2 - 3 * at["y"]).sum(), start, radius)
    assert found["x"].item() == 1.5 and found["y"].item() == 1.5
    bounds = {"x": (torch.tensor([0.0]), torch.tensor([1.2]))}
    assert ascend(lambda at: at["x"].sum() + 0 * at["y"].sum(), start, radius, 1, bounds)["x"].item() == pytest.approx(
        1.2
    )


def test_more_steps_find_a_maximum_inside_and_stay_within_the_radius() -> None:
    """-(x - 1.1)^2 from 1 with radius 0.5: one step overshoots to 1.5, ten steps of 0.125 end within one step of 1.1."""
    start, radius = {"x": torch.tensor([1.0])}, {"x": torch.tensor([0.5])}

    def hill(at: dict[str, torch.Tensor]) -> torch.Tensor:
        return -((at["x"] - 1.1) ** 2).sum()

    assert ascend(hill, start, radius, 1)["x"].item() == 1.5
    assert abs(ascend(hill, start, radius, 10)["x"].item() - 1.1) <= 0.125 + 1e-6
    assert ascend(lambda at: 9 * at["x"].sum(), start, radius, 10)["x"].item() == 1.5


# -- the adversary ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 4])
def test_moved_observations_are_near_and_the_greedy_action_leads_by_less(steps: int) -> None:
    net, windows = network(), batch()
    objective = ObjectiveConfig(discount=0.9, robust_steps=steps, **ROBUST)
    moved = move_observations(net, windows, net(windows), objective)
    difference = (moved.observation["observation"] - windows.observation["observation"]).abs()
    assert difference.max() <= 0.1 + 1e-6 and difference.mean() > 0.02
    assert lead(net, moved, windows).mean() > lead(net, windows, windows).mean() + 0.01, "a broken sign would lower it"
    assert all(parameter.grad is None for parameter in net.parameters())


def test_codes_and_texts_are_not_moved() -> None:
    space = gym.spaces.Dict({
        "code": gym.spaces.Discrete(4), "eye": gym.spaces.Box(0, 255, (20, 20), np.uint8),
        "speed": gym.spaces.Box(-2, 2, (2,)),
    })  # fmt: skip
    torch.manual_seed(0)
    net = QNetwork(
        NetworkConfig(width=16, heads=2, layers=1, context=3), ObservationSpec.from_space(space), ActionSpec((3,), (0,))
    )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    observation = {
        "code": torch.randint(4, (2, 13, 1)), "eye": torch.randint(0, 256, (2, 13, 20, 20), dtype=torch.uint8),
        "speed": torch.randn(2, 13, 2),
    }  # fmt: skip
    windows = dataclasses.replace(batch(), observation=observation)
    moved = move_observations(net, windows, net(windows), ObjectiveConfig(discount=0.9, **ROBUST)).observation
    assert torch.equal(moved["code"], observation["code"])
    assert (moved["eye"] - observation["eye"]).abs().max() == pytest.approx(25.5, abs=1e-3)
    assert (moved["speed"] - observation["speed"]).abs().max() == pytest.approx(0.2, abs=1e-5), "half the range is 2"


def test_updates_with_the_regulariser_keep_the_lead() -> None:
    """The same updates with and without it, on one batch: with it, the attacked lead is better in the end."""
    windows, found = batch(), {}
    for weight in (0.0, 3.0):
        one = learner(**(ROBUST | {"robust_weight": weight}))
        for _ in range(40):
            metrics = one.update(windows)
        assert ("robustness" in metrics) == (weight > 0)
        objective = ObjectiveConfig(discount=0.9, **ROBUST)
        moved = move_observations(one.network, windows, one.network(windows), objective)
        found[weight] = lead(one.network, moved, windows).mean().item()
    assert found[3.0] < found[0.0] - 0.1


def count_passes(one: Learner) -> int:
    passes = 0

    def count(*_: Any) -> None:
        nonlocal passes
        passes += 1

    handle = one.network.trunk.register_forward_hook(count)
    one.update(batch())
    handle.remove()
    return passes


def test_what_is_off_costs_no_forward_pass_and_changes_no_bit() -> None:
    assert count_passes(learner()) == 1
    assert count_passes(learner(**ROBUST)) == 3, "clean, for the gradient, and moved"
    assert count_passes(learner(robust_steps=3, **ROBUST)) == 5
    plain, off = learner(), learner(robust_weight=0.0, robust_epsilon=0.7, robust_steps=9)
    state = torch.get_rng_state()
    for one in (plain, off):
        one.update(batch())
    assert all(torch.equal(a, b) for a, b in zip(plain.network.parameters(), off.network.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), state), "and no random number"


def test_what_cannot_be_regularised_is_refused() -> None:
    spec = ObservationSpec.from_space(gym.spaces.Discrete(4))
    codes = QNetwork(NetworkConfig(width=16, heads=2, layers=1, context=2), spec, ActionSpec((2,), (0,)))
    with pytest.raises(ConfigError, match="numbers and pictures"):
        learner(codes, **ROBUST)
    with pytest.raises(ConfigError, match="sampled_negatives = 2"):
        learner(None, {"sampled_negatives": 2}, **ROBUST)
    with pytest.raises(ConfigError, match="policy_head = 'greedy'"):
        learner(network(policy_head="greedy"), cloning_weight=1.0, **ROBUST)


# -- noise and hidden steps ------------------------------------------------------------------------------------------------


def test_noise_has_the_promised_spread_and_leaves_the_batch_alone() -> None:
    windows, net = batch(8, 200), network()
    torch.manual_seed(0)
    moved = add_noise(windows, net, 0.3)
    difference = moved.observation["observation"] - windows.observation["observation"]
    assert difference.std().item() == pytest.approx(0.3, rel=0.05) and abs(difference.mean().item()) < 0.02
    assert torch.equal(windows.observation["observation"], batch(8, 200).observation["observation"])


def test_noise_on_pictures_stays_within_their_range() -> None:
    space = gym.spaces.Box(0, 255, (20, 20), np.uint8)
    net = QNetwork(
        NetworkConfig(width=16, heads=2, layers=1, context=2), ObservationSpec.from_space(space), ActionSpec((2,), (0,))
    )
    picture = torch.full((1, 3, 20, 20), 250, dtype=torch.uint8)
    moved = add_noise(dataclasses.replace(batch(1, 2), observation={"observation": picture}), net, 0.1).observation[
        "observation"
    ]
    assert moved.dtype == torch.uint8 and moved.max() == 255 and moved.min() > 100, "no overflow to black"


def test_noise_changes_the_update() -> None:
    plain, noisy = learner(), learner(learner_settings={"observation_noise": 0.2})
    for one in (plain, noisy):
        torch.manual_seed(1)
        one.update(batch())
    assert not all(
        torch.equal(a, b) for a, b in zip(plain.network.parameters(), noisy.network.parameters(), strict=True)
    )


def test_hidden_steps_do_not_see_their_observation_and_nothing_is_hidden_while_acting() -> None:
    net, windows = network(step_dropout=0.5), batch(4, 60)
    other = dataclasses.replace(windows, observation={"observation": windows.observation["observation"] + 1.0})

    def tokens(of: Any) -> torch.Tensor:
        torch.manual_seed(3)
        return net.embed(of)

    net.train()
    same = (tokens(windows) == tokens(other)).all(dim=-1)
    assert 0.4 < same.float().mean() < 0.6
    net.eval()
    assert not (tokens(windows) == tokens(other)).all(dim=-1).any()
    assert torch.equal(tokens(windows), network().embed(windows)), "the same weights without the setting"


def test_the_learner_hides_steps_during_updates_alone() -> None:
    one = learner(network(step_dropout=0.5))
    seen: list[bool] = []
    one.network.tokens.register_forward_hook(lambda module, *_: seen.append(module.training))
    one.update(batch())
    assert seen == [True] and not one.network.training
