"""Runs on texts: each reader is trained, saved, loaded and resumed; an agent needs its model or function, and says so."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces

import seqel
from seqel.errors import CheckpointError, ConfigError
from seqel.spaces import text_readers
from support import TINY
from tiny_models import tiny_encoder

THINGS = ("red ball", "blue ball", "red box")


class Order(gym.Env[Any, Any]):
    """'take X before Y': the right action is the number of X, so the order of the words decides."""

    observation_space = spaces.Dict({"said": spaces.Text(200)})
    action_space = spaces.Discrete(3)
    metadata = {"seqel": {"discount": 0.0}}  # noqa: RUF012  (as Gymnasium declares it)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return self._said(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward, self.time = float(action == self.right), self.time + 1
        return self._said(), reward, self.time == 4, False, {}

    def _said(self) -> Any:
        self.right, other = self.np_random.choice(3, 2, replace=False)
        return {"said": f"take the {THINGS[self.right]} before the {THINGS[other]}"}


def lengths(texts: Sequence[str]) -> Any:
    return np.array([[len(text), text.find("red"), text.find("box")] for text in texts], np.float32)


KINDS: dict[str, dict[str, Any]] = {
    "tokens": {"text.encoder": "tokens", "text.length": 16},
    "frozen": {"text.encoder": "pretrained", "text.tuning": "frozen"},
    "lora": {"text.encoder": "pretrained", "text.tuning": "lora"},
    "callable": {},
}


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def trained(kind: str, out: Path, steps: int = 600, **settings: Any) -> seqel.Agent:
    chosen = TINY | KINDS[kind] | settings
    if chosen.get("text.encoder") == "pretrained":
        chosen |= {"text.model": str(tiny_encoder())}
    embed = lengths if kind == "callable" else None
    return seqel.train(Order, steps=steps, seed=3, out=out, settings=chosen, text_encoder=embed, progress=False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_agent_reads_texts_as_the_trained_one(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = trained(kind, tmp_path / "run")
    texts = {"said": ["take the red box before the blue ball", "", "🎉 银行"]}
    expected = agent.act(texts)[0].q
    monkeypatch.setattr(text_readers, "_registered", {})  # as in another process
    embed = lengths if kind == "callable" else None
    again = seqel.Agent.load(tmp_path / "run", text_encoder=embed)
    np.testing.assert_array_equal(again.act(texts)[0].q, expected)
    found = seqel.evaluate(again, Order, 4, seed=7)  # an environment's own space is read as the agent reads it
    assert len(found.returns) == 4


@pytest.mark.parametrize("kind", ["tokens", "callable"])
def test_a_resumed_run_equals_an_uninterrupted_one(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = trained(kind, tmp_path / "whole", steps=800)

    def interrupt(record: Any) -> None:
        if record.steps >= 400:
            raise KeyboardInterrupt

    embed = lengths if kind == "callable" else None
    with pytest.raises(KeyboardInterrupt):
        seqel.train(
            Order, steps=800, seed=3, out=tmp_path / "cut", settings=TINY | KINDS[kind], text_encoder=embed,
            progress=interrupt,
        )  # fmt: skip
    monkeypatch.setattr(text_readers, "_registered", {})
    resumed = seqel.resume(tmp_path / "cut", env=Order, text_encoder=embed, progress=False)
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, resumed.network.state_dict()[name]), name


def test_an_agent_says_which_model_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained("lora", tmp_path / "run")
    weights = tmp_path / "run" / "agent" / "weights.safetensors"
    assert weights.stat().st_size < (tiny_encoder() / "model.safetensors").stat().st_size  # the base is not saved
    monkeypatch.setattr(text_readers, "_registered", {})
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    with pytest.raises(ConfigError, match=r"is not known on this machine. Set the environment variable SEQEL_MODELS"):
        seqel.Agent.load(tmp_path / "run")
    monkeypatch.setenv("SEQEL_MODELS", str(tiny_encoder()))
    seqel.Agent.load(tmp_path / "run")


def test_an_agent_says_that_it_needs_its_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained("callable", tmp_path / "run")
    monkeypatch.setattr(text_readers, "_registered", {})
    with pytest.raises(ConfigError, match="pass the same function"):
        seqel.Agent.load(tmp_path / "run")
    with pytest.raises(ConfigError, match="expected the function that the agent was trained with"):
        seqel.Agent.load(tmp_path / "run", text_encoder=lambda texts: lengths(texts) + 1)
    with pytest.raises(ConfigError, match="pass the same function"):
        seqel.resume(tmp_path / "run", env=Order, progress=False)


def test_an_agent_that_describes_another_reader_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained("tokens", tmp_path / "run")
    path = tmp_path / "run" / "agent" / "config.json"
    config = json.loads(path.read_text())
    config["text"]["length"] = 8
    from seqel.agents import artifact

    config["crc32"]["config.json"] = artifact._sum(config)
    path.write_text(json.dumps(config))
    monkeypatch.setattr(text_readers, "_registered", {})
    with pytest.raises(CheckpointError, match="texts are read by"):
        seqel.Agent.load(tmp_path / "run")


def test_a_damaged_reader_stops_a_resume(tmp_path: Path) -> None:
    trained("tokens", tmp_path / "run")
    file = tmp_path / "run" / "text-reader.json"
    for damage in (file.read_bytes()[:-20], b"", file.read_bytes().replace(b"vocabulary", b"vocabulery", 1)):
        file.write_bytes(damage)
        with pytest.raises(CheckpointError, match=r"text-reader\.json is damaged"):
            seqel.resume(tmp_path / "run", env=Order, progress=False)


def test_a_foreign_run_cannot_have_a_model_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "run"
    trained("lora", out)
    (out / "text-reader.json").unlink()
    shutil.rmtree(out / "checkpoints")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    shutil.rmtree(out / "agent")
    with pytest.raises(seqel.errors.TrustError, match=r"text\.model"):
        seqel.resume(out, env=Order, progress=False)


def test_further_training_reads_texts_as_before(tmp_path: Path) -> None:
    agent = trained("tokens", tmp_path / "first")
    further = seqel.train(Order, steps=300, init_from=agent, out=tmp_path / "second", settings=TINY, progress=False)
    assert further.observation_spec == agent.observation_spec


def test_a_start_that_reads_texts_in_another_way_is_named(tmp_path: Path) -> None:
    start = seqel.train(Order, steps=100, out=tmp_path / "first", settings=TINY, progress=False)
    with pytest.raises(ConfigError, match="the agent to start from reads texts as hashed trigrams"):
        seqel.train(
            Order, steps=100, init_from=start, out=tmp_path / "second", settings=TINY | KINDS["tokens"], progress=False
        )


def test_the_order_of_words_is_learned(tmp_path: Path) -> None:
    """Chance is 1.33; without the order it is 2; hashed trigrams get little beyond that in this time."""
    settings = {"replay.replay_ratio": 16.0, "learner.learning_rate": 2e-3, "learner.warmup": 20, "network.width": 32}
    agent = trained("tokens", tmp_path / "run", 3_000, **settings)
    assert seqel.evaluate(agent, Order, 50, seed=11).mean > 3.6
