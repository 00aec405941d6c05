"""An agent of opinion monitoring with random weights, its calibration, and messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from seqel.agents.agent import Agent
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.tasks.opinion.monitoring import OpinionMonitoring
from seqel.tasks.opinion.stream import Setting
from seqel.watching.calibration import Calibration, sentiments_of, weights_of
from seqel.watching.messages import Message
from seqel.watching.watcher import Watcher
from support_opinion import WORDS, opinions

COMPANIES = 4
SETTING = Setting(companies=COMPANIES, rate=0.4)
START = 490_000.0  # hours since 1970


def make_agent(**changes: Any) -> Agent:
    env = OpinionMonitoring(opinions(), "test", SETTING)
    torch.manual_seed(0)
    config = NetworkConfig(**{"width": 16, "layers": 2, "heads": 2, "context": 6, "previous_reward": False} | changes)
    spec, action = ObservationSpec.from_space(env.observation_space), ActionSpec.from_space(env.action_space)
    network = QNetwork(config, spec, action).eval()
    for parameter in network.head.parameters():  # it is initialised to zero, where every number would be the same
        torch.nn.init.normal_(parameter)
    return Agent(network)


def make_watcher(threshold: float = np.inf, cooldown: float = 24.0, **changes: Any) -> Watcher:
    agent = make_agent(**changes)
    sentiment = sentiments_of(agent, opinions())
    return Watcher(agent, Calibration(threshold, threshold, 500.0, sentiment, weights_of(agent)), cooldown)


def messages(count: int, companies: int, seed: int = 0) -> list[Message]:
    """Messages about companies, every other of which is in a group."""
    rng = np.random.default_rng(seed)
    times = START + np.sort(rng.uniform(0.0, 40.0, count))
    words = list(WORDS.values())
    found = []
    for time in times:
        number = int(rng.integers(companies))
        text = f"{words[rng.integers(3)]} grow at {rng.integers(9)}"
        found.append(Message(float(time), f"Firm {number}", text, group="" if number % 2 else "even"))
    return found
