"""An agent that ranks items, with random weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from seqel.agents.agent import Agent
from seqel.networks.config import NetworkConfig
from seqel.networks.heads.item_scorer import ItemScorer
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, ObservationSpec


def make_agent(items: int = 12, **changes: Any) -> Agent:
    torch.manual_seed(0)
    given: dict[str, Any] = {"width": 8, "heads": 2, "layers": 2, "context": 4, "actions": "items"}
    spec = ObservationSpec.from_space(spaces.Box(0, 1, (1,), np.uint8))
    network = QNetwork(NetworkConfig(**given | changes), spec, ActionSpec((items,), (0,)))
    for part in network.modules():
        if isinstance(part, ItemScorer):
            torch.nn.init.normal_(part.last.weight)
    return Agent(network)
