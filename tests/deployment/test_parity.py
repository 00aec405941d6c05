"""An export is compared with its agent before it is kept."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import onnx
import pytest
import torch

from seqel.agents.agent import Agent
from seqel.cli.main import main
from seqel.deployment.export import describe
from seqel.deployment.parity import compare_export, random_episodes
from seqel.deployment.runtime import METADATA
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, FlatObservation, ObservationSpec
from support import network

CARTPOLE = gym.make("CartPole-v1")


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    spec, actions = ObservationSpec.from_space(CARTPOLE.observation_space), ActionSpec.from_space(CARTPOLE.action_space)
    net = QNetwork(NetworkConfig(width=16, heads=2, layers=1, context=4), spec, actions)
    for parameter in net.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return Agent(net, {"env": "CartPole-v1"}).save(tmp_path_factory.mktemp("run") / "agent")


def test_an_export_equals_its_agent_and_that_of_another_does_not(pair: Any) -> None:
    episodes = random_episodes(pair.agent, 2)
    found = compare_export(pair.agent, pair.exported, episodes)
    assert found.equal and found.agreement == 1.0 and found.steps == 30
    other = Agent(network(std=0.31, trunk=pair.agent.network.config.trunk))
    found = compare_export(other, pair.exported, episodes)
    assert not found.equal and found.difference > 1e-3


def test_the_manifest_says_what_wrote_it(pair: Any) -> None:
    described = json.loads(next(one.value for one in onnx.load(str(pair.file)).metadata_props if one.key == METADATA))
    assert described["versions"]["torch"] == torch.__version__
    assert described["weights"] == describe(pair.agent)["weights"]
    assert described["weights"] != describe(Agent(network(std=0.31)))["weights"]


def test_seqel_export_compares_on_the_runs_environment(cartpole: Path, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "pole.onnx"
    assert main(["export", str(cartpole), "--out", str(file), "--episodes", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["env"] == "CartPole-v1" and found["episodes"] == 3 and found["steps"] >= 24
    assert found["difference"] < 1e-4 and file.stat().st_size == found["bytes"]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["pole.onnx"]


def test_an_export_that_differs_is_not_kept(cartpole: Path, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    module = importlib.import_module("seqel.deployment.export")
    file = tmp_path / "pole.onnx"
    file.write_bytes(b"what was there before")
    genuine = module.export

    def wrong(agent: Agent, path: Path) -> Path:
        other = Agent.load(cartpole)
        with torch.no_grad():
            for parameter in other.network.parameters():
                parameter.mul_(1.1)
        return genuine(other, path)

    monkeypatch.setattr(module, "export", wrong)
    assert main(["export", str(cartpole), "--out", str(file), "--episodes", "1"]) == 6
    assert "was not written: expected the scores of the agent" in " ".join(capsys.readouterr().err.split())
    assert file.read_bytes() == b"what was there before"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["pole.onnx"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--episodes", "0"], "at least 1"), (["--out", "agent.bin"], "ends in .onnx"), (["--env", "None-v0"], "None-v0")],
)
def test_wrong_arguments_of_export(cartpole: Path, arguments: list[str], message: str, capsys: Any) -> None:
    assert main(["export", str(cartpole), *arguments]) != 0
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (cartpole / "agent.onnx").exists()


def test_random_observations_fit_every_kind_of_leaf() -> None:
    space = gym.spaces.Dict(
        {
            "grid": gym.spaces.Box(0, 10, (5, 5, 3), np.uint8), "picture": gym.spaces.Box(0, 255, (36, 36, 1), np.uint8),
            "room": gym.spaces.MultiDiscrete([3, 5]), "word": gym.spaces.Text(20),
            "place": gym.spaces.Box(-1, 1, (2,), np.float32),
        }
    )  # fmt: skip
    spec = ObservationSpec.from_space(space)
    agent = Agent(QNetwork(NetworkConfig(width=16, heads=2, context=3), spec, ActionSpec((4, 2), (0, 0))))
    (episode,) = random_episodes(agent, 1)
    state = None
    for step in range(len(episode)):
        seen = FlatObservation((path, leaf[step : step + 1]) for path, leaf in episode.observation.items())
        decision, state = agent.act(seen, state)
        assert np.isfinite(decision.q[0, 0]).all()
