"""The same agent with random weights: an explanation that does not change with the weights does not explain the network."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from seqel.agents.agent import Agent
from seqel.networks.qnetwork import QNetwork

if TYPE_CHECKING:
    from torch import nn

__all__ = ["randomise_weights"]


def randomise_weights(agent: Agent, seed: int = 0) -> Agent:
    """Return an agent with the same network, newly initialised, for sanity checks (Adebayo et al. 2018, arXiv:1810.03292).

    Statistics of the observations are kept. The last layers of the heads, which training starts from zero, are drawn from a
    normal distribution, because with zeros all actions would be equal and nothing could be explained. A pretrained model
    keeps its own weights.
    """
    network = agent.network
    devices = [agent.device] if agent.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        fresh = QNetwork(replace(network.config), network.observation_spec, network.action_spec).to(agent.device)
        with torch.no_grad():
            for part in [fresh.head, *(fresh.part(name) for name in fresh.other_heads)]:
                if part is not None:
                    _fill(part)
            known = dict(network.named_buffers())
            for name, buffer in fresh.named_buffers():
                if name in known and known[name].shape == buffer.shape:
                    buffer.copy_(known[name])
    return Agent(fresh, dict(agent.info))


def _fill(part: nn.Module) -> None:
    for parameter in part.parameters():
        if parameter.ndim > 1 and not bool(parameter.any()):
            torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
