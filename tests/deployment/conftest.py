"""An agent of each trunk that can be exported, and its export, for all tests of this folder: an export takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from seqel.agents.agent import Agent
from seqel.deployment.export import export
from seqel.deployment.runtime import ExportedAgent
from support import network


class Pair(NamedTuple):
    """An agent with context 5 and three actions, its weights before the export, and what was exported."""

    agent: Agent
    before: dict[str, torch.Tensor]
    file: Path

    @property
    def exported(self) -> ExportedAgent:
        return ExportedAgent(self.file)


@pytest.fixture(scope="session", params=["transformer", "gru"])
def pair(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Pair:
    agent = Agent(network(trunk=request.param), {"env": "Somewhere-v0", "masked": True})
    before = {name: value.clone() for name, value in agent.network.state_dict().items()}
    return Pair(agent, before, export(agent, tmp_path_factory.mktemp("export") / "agent.onnx"))
