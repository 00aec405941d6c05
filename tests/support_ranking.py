"""An agent that ranks items, with random weights."""

from __future__ import annotations

from typing import Any

import torch

from seqel.agents.agent import Agent
from seqel.networks.config import NetworkConfig
from seqel.networks.heads.item_scorer import ItemScorer
from seqel.networks.qnetwork import QNetwork
from seqel.ranking.data import item_encoding


def make_agent(items: int = 12, **changes: Any) -> Agent:
    torch.manual_seed(0)
    given: dict[str, Any] = {"width": 8, "heads": 2, "layers": 2, "context": 4, "actions": "items"}
    encoding = item_encoding(range(items))
    network = QNetwork(NetworkConfig(**given | changes), encoding.observation, encoding.action)
    for part in network.modules():
        if isinstance(part, ItemScorer):
            torch.nn.init.normal_(part.last.weight)
    return Agent(network)
