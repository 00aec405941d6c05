"""Two agents that act in different environments: each acts in its own rows and remembers them."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from seqel.agents.agent import Agent
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, FlatObservation, ObservationSpec
from seqel.training.online.actors import Actors


def agent(seed: int) -> Agent:
    """An agent with its own weights, including biases that distinguish the actions."""
    torch.manual_seed(seed)
    spec = ObservationSpec.from_space(gym.spaces.Box(-1, 1, (3,)))
    network = QNetwork(NetworkConfig(width=16, heads=2, layers=1, context=4), spec, ActionSpec((3,), (0,)))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return Agent(network)


@pytest.mark.parametrize(("count", "challenged"), [(2, [1]), (3, [2]), (4, [3]), (9, [3, 7])])
def test_the_assigned_agent_acts_in_each_row_with_its_own_memory(count: int, challenged: list[int]) -> None:
    one, two = agent(1), agent(2)
    actors = Actors(one, count, two)
    alone = {who: (who.initial_state(count)) for who in (one, two)}
    rng = np.random.default_rng(0)
    action = np.zeros((count, 1), np.int64)
    path = one.observation_spec.leaves[0].path
    for step in range(7):
        seen = FlatObservation({path: rng.normal(size=(count, 3)).astype(np.float32)})
        given: dict[str, Any] = {
            "reward": rng.normal(size=count).astype(np.float32),
            "first": np.full(count, step == 0) | (rng.random(count) < 0.2),
            "previous_action": action,
            "mask": np.array([[True, True, step % 2 == 0]] * count),
        }
        q, novelty = actors.act(seen, **given)
        expected = np.empty_like(q)
        for who, rows in ((one, np.setdiff1d(np.arange(count), challenged)), (two, np.array(challenged))):
            decision, alone[who] = who.act(seen, alone[who], **given)
            expected[rows] = decision.q[rows]
        np.testing.assert_allclose(q, expected, atol=1e-5)
        assert novelty is None, "the agents have no head for it"
        action = rng.integers(0, 2, (count, 1))


def test_a_memory_that_was_saved_as_tensors_is_restored() -> None:
    """The last action and the fresh rows were tensors until 2026-11-28."""
    one = agent(1)
    actors, restored = Actors(one, 3), Actors(one, 3)
    seen = FlatObservation({one.observation_spec.leaves[0].path: np.ones((3, 3), np.float32)})
    given: dict[str, Any] = {
        "reward": np.zeros(3, np.float32),
        "previous_action": np.zeros((3, 1), np.int64),
        "mask": None,
    }
    actors.act(seen, first=np.ones(3, bool), **given)
    (saved,) = copy.deepcopy(actors.state_dict())
    tensors = {name: torch.from_numpy(saved[name]) for name in ("last_action", "fresh")}
    restored.load_state_dict([saved | tensors])
    later, _ = actors.act(seen, first=np.zeros(3, bool), **given)
    np.testing.assert_array_equal(restored.act(seen, first=np.zeros(3, bool), **given)[0], later)
