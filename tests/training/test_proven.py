"""What was earned with is not lost: the weights that did best act and are kept, newer ones are on trial."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch

import seqel
from seqel.agents.agent import Agent
from seqel.environments.resolve import resolve
from seqel.errors import ConfigError
from seqel.training.config import preset, with_settings
from seqel.training.run import resume
from seqel.training.session import Session
from support import TINY

PROVEN: dict[str, Any] = TINY | {"learner.acts": "proven", "checkpoint_every": 0, "evaluation.every": 200}


class Echo(gym.Env[int, int]):
    """Eight times, say what is seen: worth 8, and 4 to who guesses."""

    observation_space, action_space = gym.spaces.Discrete(2), gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.left, self.seen = 8, int(self.np_random.integers(2))
        return self.seen, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        reward, self.left, self.seen = float(action == self.seen), self.left - 1, int(self.np_random.integers(2))
        return self.seen, reward, self.left == 0, False, {}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An agent that has learnt a little."""
    folder = tmp_path_factory.mktemp("begun") / "run"
    seqel.train(Echo, steps=2_000, settings=TINY | {"checkpoint_every": 0}, out=folder, progress=False)
    return folder


def test_learning_moves_only_what_is_on_trial(begun: Path) -> None:
    session = Session(
        with_settings(preset("default"), PROVEN | {"env": "echo"}), resolve(Echo), start=Agent.load(begun / "agent")
    )
    session.collector.begin()
    while session.learner.updates < 5:
        session.collect()
        while session.due:
            session.update()
    acting, learning = session.agent.network.state_dict(), session.learning.network.state_dict()
    start = Agent.load(begun / "agent").network.state_dict()
    assert session.learning.network is session.learner.target
    weights = [name for name, value in start.items() if value.ndim and "head" not in name]  # the head has another unit
    assert all(torch.equal(acting[name], start[name]) for name in weights)
    assert any(not torch.equal(learning[name], start[name]) for name in weights)
    session.promote()
    acting = session.agent.network.state_dict()
    assert all(torch.equal(acting[name], value) for name, value in session.learning.network.state_dict().items())
    session.close()


def test_a_learner_that_breaks_costs_nothing(begun: Path, tmp_path: Path) -> None:
    """The planted fault: noise for a learner. What acts and what is kept stay what they were."""
    before = seqel.evaluate(Agent.load(begun / "agent"), Echo, 20, seed=50).mean
    assert before > 7.5
    breaking = {"learner.learning_rate": 5.0, "learner.warmup": 0, "learner.clip": 0.0}
    for acts in ("proven", "averaged"):
        settings = PROVEN | breaking | {"learner.acts": acts, "exploration.bonus": 0.0, "exploration.high": 1e-4}
        out = tmp_path / acts
        kept = seqel.train(Echo, start=begun, steps=2_000, settings=settings, out=out, progress=False)
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        assert lines[0]["steps"] == 0 and "validation" in lines[0], "what is begun with is looked at first"
        assert seqel.evaluate(kept, Echo, 20, seed=50).mean >= before, "the best look is kept, the first one included"
        live = lines[-1]["return"]
        if acts == "proven":
            guarded, broken = live, min(line["validation"]["mean"] for line in lines if "validation" in line)
    assert broken < before - 1.0, "the fault is a fault"
    assert guarded > live + 0.5, "three quarters of the episodes are still played by what was proven"


def test_a_resumed_run_is_the_uninterrupted_one(begun: Path, tmp_path: Path) -> None:
    settings = PROVEN | {"learner.schedule": "constant"}
    whole = seqel.train(Echo, start=begun, steps=600, settings=settings, out=tmp_path / "a", progress=False)
    seqel.train(Echo, start=begun, steps=300, settings=settings, out=tmp_path / "b", progress=False)
    halves = resume(tmp_path / "b", env=resolve(Echo), steps=600, progress=False)
    other = halves.network.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in whole.network.state_dict().items())


def test_what_is_proven_needs_something_to_begin_with_and_a_place_to_try() -> None:
    with pytest.raises(ConfigError, match="needs an agent to start from"):
        Session(with_settings(preset("default"), PROVEN), resolve(Echo))
    with pytest.raises(ConfigError, match="environments >= 2"):
        with_settings(preset("default"), PROVEN | {"environments": 1})
