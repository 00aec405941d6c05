"""Exported agents that read texts: the same decisions, by the reader that the file describes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from seqel.agents.agent import Agent
from seqel.deployment import ExportedAgent, export
from seqel.errors import CheckpointError, ConfigError
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, ObservationSpec, text_readers
from seqel.texts.config import TextConfig
from seqel.texts.make import make_reader
from tiny_models import TEXTS, tiny_encoder

HARD = ["take the red ball", "", "🎉 银行", "x" * 10_000, "before the blue box"]


def lengths(texts: Sequence[str]) -> Any:
    return np.array([[len(text), text.count("e")] for text in texts], np.float32)


def agent(kind: str) -> Agent:
    settings: dict[str, Any] = {"encoder": kind}
    if kind not in ("tokens", "callable"):
        settings = {"encoder": "pretrained", "model": str(tiny_encoder()), "tuning": kind}
    config = TextConfig(**settings)
    reader = make_reader(config, TEXTS, lengths if kind == "callable" else None)
    assert reader is not None
    spec = ObservationSpec.from_space(spaces.Dict({"said": spaces.Text(99)})).with_text_reader(reader)
    torch.manual_seed(0)
    network = QNetwork(NetworkConfig(width=16, heads=2, context=4), spec, ActionSpec((3,), (0,)))
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return Agent(network)


@pytest.mark.parametrize("kind", ["tokens", "frozen", "callable"])
def test_an_exported_agent_reads_texts_as_the_agent(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = agent(kind)
    path = export(made, tmp_path / "agent.onnx")
    expected, state = made.act({"said": HARD})
    further, _ = made.act({"said": HARD[::-1]}, state, reward=1.0)
    monkeypatch.setattr(text_readers, "_registered", {})  # as in another process
    if kind == "callable":
        with pytest.raises(ConfigError, match="pass the same function"):
            ExportedAgent(path)
    exported = ExportedAgent(path, text_encoder=lengths if kind == "callable" else None)
    found, memory = exported.act({"said": HARD})
    np.testing.assert_allclose(found.q, expected.q, atol=1e-5)
    found, _ = exported.act({"said": HARD[::-1]}, memory, reward=1.0)
    np.testing.assert_allclose(found.q, further.q, atol=1e-5)


def test_a_model_that_is_trained_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"export: expected text\.tuning = 'frozen'"):
        export(agent("lora"), tmp_path / "agent.onnx")


def test_a_reader_that_is_another_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from seqel.deployment import export as module_function  # the function; its module is patched below

    made = agent("tokens")
    other = make_reader(TextConfig(encoder="tokens", length=8), TEXTS)
    assert other is not None and module_function is export
    described = type(made.observation_spec).text_reader
    monkeypatch.setattr(type(made.observation_spec), "text_reader", property(lambda self: other))
    path = export(made, tmp_path / "agent.onnx")
    monkeypatch.setattr(type(made.observation_spec), "text_reader", described)
    monkeypatch.setattr(text_readers, "_registered", {})
    with pytest.raises(CheckpointError, match="texts are read by"):
        ExportedAgent(path)
