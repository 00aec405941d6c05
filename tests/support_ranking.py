"""An agent that ranks items, with random weights, and interactions whose order is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from seqel.agents.agent import Agent
from seqel.networks.config import NetworkConfig
from seqel.networks.heads.item_scorer import ItemScorer
from seqel.networks.qnetwork import QNetwork
from seqel.ranking.data import item_encoding
from seqel.ranking.interactions import Interactions


def make_agent(items: int = 12, **changes: Any) -> Agent:
    torch.manual_seed(0)
    given: dict[str, Any] = {"width": 8, "heads": 2, "layers": 2, "context": 4, "actions": "items"}
    encoding = item_encoding(range(items))
    network = QNetwork(NetworkConfig(**given | changes), encoding.observation, encoding.action)
    for part in network.modules():
        if isinstance(part, ItemScorer):
            torch.nn.init.normal_(part.last.weight)
    return Agent(network)


def chains(users: int = 60, items: int = 12, length: int = 9, seed: int = 0) -> Interactions:
    """Each user goes through the items in a ring, from a random one on, at times with a step of two."""
    rng = np.random.default_rng(seed)
    start, step = rng.integers(items, size=(users, 1)), rng.choice([1, 1, 1, 2], size=(users, length - 1))
    item = (start + np.concatenate([np.zeros((users, 1), np.int64), step.cumsum(axis=1)], axis=1)) % items
    rating = rng.integers(1, 6, size=users * length)
    return Interactions.of(np.arange(users).repeat(length), item.ravel(), rating=rating)
