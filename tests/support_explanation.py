"""Agents with random weights and random episodes, for tests of explanations."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from seqel.agents.agent import Agent
from seqel.explanation.trace import EpisodeTrace
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, Leaf, ObservationSpec

VECTOR = ObservationSpec((Leaf("x", ("x",), "vector", (3,), "float32", (3,), low=(-9.0,) * 3, high=(9.0,) * 3),))


def make_agent(
    sizes: tuple[int, ...] = (3,), spec: ObservationSpec = VECTOR, info: Any = None, **settings: Any
) -> Agent:
    """Make an agent whose heads are not zero."""
    torch.manual_seed(0)
    given: dict[str, Any] = {"width": 16, "heads": 2, "layers": 2, "context": 4}
    network = QNetwork(NetworkConfig(**given | settings), spec, ActionSpec(sizes, (0,) * len(sizes)))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    if network.cost_multiplier is not None:
        network.set_cost_multiplier(2.0)
    return Agent(network, info)


def make_trace(agent: Agent, steps: int = 9, seed: int = 0, **more: Any) -> EpisodeTrace:
    """Make a random episode of an agent that observes vectors and categories."""
    rng = np.random.default_rng(seed)
    observation = {}
    for leaf in agent.observation_spec.leaves:
        if leaf.kind == "categories":
            observation[leaf.path] = rng.integers(0, leaf.sizes, (steps + 1, len(leaf.sizes)))
        else:
            observation[leaf.path] = rng.normal(size=(steps + 1, *leaf.shape)).astype(leaf.dtype)
    sizes = agent.action_spec.sizes
    action = rng.integers(0, sizes, (steps, len(sizes)))
    return EpisodeTrace(
        observation,
        action if len(sizes) > 1 else action[:, 0],
        rng.normal(size=steps).astype(np.float32),
        np.zeros((0, 0), np.float32),
        None,
        **more,
    )
