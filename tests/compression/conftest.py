"""Fixtures of the tests of compression: a small agent, windows of its own, and an environment in which it is perfect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from seqel.agents.agent import Agent
from seqel.networks.qnetwork import QNetwork
from seqel.types import SequenceBatch
from support import SPACE, batch, network


class Mirror(gym.Env[Any, Any]):
    """Rewards the action that an agent would choose after the same history: that agent's return is the length, 8."""

    observation_space = SPACE
    action_space = gym.spaces.Discrete(3)

    def __init__(self, agent: Agent) -> None:
        self.agent = agent

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.time, self.reward = 0, 0.0
        self.state: Any = None
        return self._see(), {}

    def _see(self) -> np.ndarray:
        seen = self.np_random.standard_normal(3).astype(np.float32)
        decision, self.state = self.agent.act(
            seen[None], self.state, reward=self.reward, previous_action=self._before()
        )
        self.wanted = int(decision.action[0])
        return seen

    def _before(self) -> Any:
        return None if self.time == 0 else np.array([self.action])

    def step(self, action: int) -> Any:
        self.action, self.reward = int(action), float(action == self.wanted)
        self.time += 1
        reward = self.reward
        return self._see(), reward, self.time == 8, False, {}


@pytest.fixture
def net() -> QNetwork:
    return network(layers=3, heads=2, width=16)


@pytest.fixture
def agent(net: QNetwork) -> Agent:
    return Agent(net, {"env": "", "seed": 0})


@pytest.fixture
def windows() -> Sequence[SequenceBatch]:
    return [batch(rows=3, steps=9, seed=seed) for seed in range(2)]
