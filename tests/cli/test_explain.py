"""`seqel explain`: episodes and recorded sessions, in the terminal, as JSON, as an image and as a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqel.agents.agent import Agent
from seqel.cli.main import main
from seqel.environments.resolve import resolve
from seqel.explanation.attribute import attribute
from seqel.explanation.trace import record_episode
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, ObservationSpec
from support_dialogues import train_support


@pytest.fixture(scope="module")
def maze(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An agent with random weights that walks a short T-Maze."""
    env = resolve("seqel/TMaze-v0", length=5)()
    torch.manual_seed(0)
    network = QNetwork(
        NetworkConfig(width=16, heads=2, context=16), ObservationSpec.from_space(env.observation_space),
        ActionSpec.from_space(env.action_space),
    )  # fmt: skip
    for parameter in network.head.parameters():
        torch.nn.init.normal_(parameter)
    return Agent(network, {"env": "seqel/TMaze-v0", "env_args": {"length": 5}}).save(
        tmp_path_factory.mktemp("maze") / "agent"
    )


@pytest.fixture(scope="module")
def chats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("polars")
    folder = tmp_path_factory.mktemp("chats")
    train_support(folder, "offline-cql", updates=60)
    return folder


def explained(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["explain", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_numbers_are_those_of_the_library(maze: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = explained(capsys, str(maze), "--seed", "3", "--method", "rollout", "--method", "occlusion", "--step", "4")
    agent = Agent.load(maze)
    trace = record_episode(agent, resolve("seqel/TMaze-v0", length=5), 3)
    for name in ("rollout", "occlusion"):
        np.testing.assert_allclose(found["methods"][name], attribute(agent, trace, name, [4])[0, :5], atol=1e-4)
    names = ("right", "up", "left", "down")
    assert found["taken"] == names[trace.action[4]] and found["step"] == 4 and found["unit"] == "units of reward"
    assert found["episode"]["seed"] == "3" and found["episode"]["source"] == "seqel/TMaze-v0"
    for change in found["changes"]:
        assert change["step"] <= 4 and change["action"] != [int(trace.action[4])]


def test_the_terminal_shows_a_strip_and_the_steps(maze: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(maze), "--step", "5"]) == 0
    text = capsys.readouterr().out
    assert "step 5: the agent chooses" in text and "occlusion" in text and "↑ step" in text and "seen there" in text
    assert main(["explain", str(maze), "--step", "0"]) == 0
    assert "no past" in capsys.readouterr().out


def test_a_page_and_an_image_are_written(maze: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, image = tmp_path / "page.html", tmp_path / "strips.png"
    found = explained(capsys, str(maze), "--out", str(page), "--png", str(image), "--action", "up", "--over", "none")
    assert list(found["methods"]) == ["occlusion", "exchange", "rollout", "gradient", "integrated", "attention"]
    assert found["question"] == "the score of action up"
    assert image.read_bytes().startswith(b"\x89PNG") and "an explained episode" in page.read_text()
    assert "@" in page.read_text()  # the maze, drawn with letters


def test_a_recorded_session_is_explained_with_its_words(
    chats: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    found = explained(
        capsys, str(chats / "run"), "--data", str(chats / "table.jsonl"), "--session", "7", "--step", "1", "--out", str(page)
    )  # fmt: skip
    assert found["episode"]["session"] == "7" and found["taken"] == "block the card"
    assert [one["action"] for one in found["actions"] if one["recorded"]] == ["block the card"]
    data = page.read_text()
    assert "I lost my card" in data and '"spans":[[0,1],[2,6],[7,9],[10,14]]' in data
    first = explained(capsys, str(chats / "run"), "--data", str(chats / "table.jsonl"))
    assert first["episode"]["steps"] in ("1", "2")


def test_a_page_that_would_be_too_large_is_refused(
    maze: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seqel.explanation.page.PAGE_LIMIT", 20_000)
    page = tmp_path / "page.html"
    assert main(["explain", str(maze), "--method", "occlusion", "--out", str(page)]) == 2
    assert "explain fewer steps (--limit, now 600)" in " ".join(capsys.readouterr().err.split()) and not page.exists()


def test_mistakes_are_explained(maze: Path, chats: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", str(chats / "table.jsonl")]
    for arguments, text, code in (
        ([str(maze), "--method", "shap"], "expected one of occlusion, exchange", 2),
        ([str(maze), "--step", "6"], "--step: expected 0 to 5", 2),
        ([str(maze), "--action", "jump"], "--action: expected an action (right, up", 2),
        ([str(maze), "--session", "a"], "--session needs --data", 2),
        ([str(maze), "--limit", "0"], "--limit", 2),
        ([str(maze), "--seed", str(2**30)], "seed", 2),
        ([str(chats / "run"), *data, "--session", "zoe"], "expected one of the 60 sessions", 5),
        ([str(maze), *data, "--schema", str(chats / "table.toml")], "which observe ['text/said", 3),
    ):
        assert main(["explain", *arguments]) == code, arguments
        assert text in " ".join(capsys.readouterr().err.split()), arguments
