"""An agent that writes texts of the letters a, b and c, with random weights."""

from __future__ import annotations

import torch

from seqel.agents.agent import Agent
from seqel.language.episodes import text_spaces
from seqel.language.tokenizer import Characters
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork

__all__ = ["agent"]


def agent() -> Agent:
    """Make the agent; the same one each time."""
    torch.manual_seed(0)
    tokenizer = Characters("abc")
    config = NetworkConfig(width=16, heads=2, context=12, policy_head="auxiliary", value="hl-gauss", bins=11)
    network = QNetwork(config, *text_spaces(tokenizer.size))
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    found = Agent(network)
    found.info["language"] = {"tokenizer": tokenizer.to_json(), "length": 8, "prompt": 0}
    return found
