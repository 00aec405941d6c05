"""An exported agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqel.agents.agent import Agent
from seqel.deployment.export import export
from support import network


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(Agent(network(), {"env": "Somewhere-v0"}), tmp_path_factory.mktemp("export") / "agent.onnx")
