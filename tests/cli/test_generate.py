from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from seqel.agents.agent import Agent
from seqel.cli.main import main
from seqel.language.episodes import text_spaces
from seqel.language.tokenizer import Characters
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """An agent that was trained on nothing, which knows the letters of 'abc'."""
    torch.manual_seed(0)
    tokenizer = Characters("abc")
    config = NetworkConfig(width=16, heads=2, context=9, policy_head="auxiliary", value="hl-gauss", bins=11)
    agent = Agent(QNetwork(config, *text_spaces(tokenizer.size)))
    agent.info["language"] = {"tokenizer": tokenizer.to_json(), "length": 8, "prompt": 0}
    return agent.save(tmp_path / "agent")


def test_texts_as_json(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", str(run), "--prompt", "ab", "--prompt", "c", "--n", "2", "--seed", "0", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["dial"] == 1.0
    assert [one["prompt"] for one in found["texts"]] == ["ab", "ab", "c", "c"]
    assert all(len(one["text"]) <= 8 for one in found["texts"]) and any(one["text"] for one in found["texts"])


def test_texts_to_read(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", str(run), "--prompt", "[b]", "--n", "2", "--seed", "0", "--length", "3"]) == 0
    shown = capsys.readouterr().out
    assert shown.count("[b]") == 2 and "---" in shown  # markup in a text is text


def test_mistakes_are_named(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in (
        ([str(tmp_path / "nowhere")], "no agent in"), ([str(run), "--n", "0"], "n: expected at least 1"),
        ([str(run), "--dial", "-1"], "dial: expected a number of at least 0"),
    ):  # fmt: skip
        assert main(["generate", *arguments]) != 0
        assert said in capsys.readouterr().err
