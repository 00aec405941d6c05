"""Good weights are not lost: the incumbent acts and is kept, and a challenger with newer weights is tried."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import torch

import seqel
from seqel.agents.agent import Agent
from seqel.environments.resolve import resolve
from seqel.errors import ConfigError
from seqel.runs.resuming import resume
from seqel.training.config import preset, with_settings
from seqel.training.online.trainer import OnlineTrainer
from support import TINY

PROVEN: dict[str, Any] = TINY | {
    "learner.acting_weights": "incumbent",
    "checkpoint_every": 0,
    "validation.every": 200,
    "validation.confirm": 16,
}


class Echo(gym.Env[Any, Any]):
    """Eight times, the action must equal the observation: a return of 8, or 4 by guessing."""

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
    """A slightly trained agent."""
    folder = tmp_path_factory.mktemp("begun") / "run"
    seqel.train(Echo, steps=2_000, settings=TINY | {"checkpoint_every": 0}, out=folder, progress=False)
    return folder


def test_training_changes_only_the_challenger(begun: Path) -> None:
    session = OnlineTrainer(
        with_settings(preset("default"), PROVEN | {"env": "echo"}),
        resolve(Echo),
        initial_agent=Agent.load(begun / "agent"),
    )
    session.collector.begin()
    while session.learner.updates < 5:
        session.collect()
        while session.update_due:
            session.update()
    acting, learning = session.agent.network.state_dict(), session.challenger.network.state_dict()
    start = Agent.load(begun / "agent").network.state_dict()
    assert session.challenger.network is session.average.network
    weights = [name for name, value in start.items() if value.ndim and "head" not in name]  # the head has another unit
    assert all(torch.equal(acting[name], start[name]) for name in weights)
    assert any(not torch.equal(learning[name], start[name]) for name in weights)
    assert session.accept(session.validate(2))  # the first one
    acting = session.agent.network.state_dict()
    assert all(torch.equal(acting[name], value) for name, value in session.challenger.network.state_dict().items())
    session.close()


def test_open_episodes_continue_with_the_memory_of_the_promoted_weights(begun: Path) -> None:
    session = OnlineTrainer(
        with_settings(preset("default"), PROVEN | {"env": "echo"}),
        resolve(Echo),
        initial_agent=Agent.load(begun / "agent"),
    )
    session.collector.begin()
    for _ in range(3):
        session.collect()
    with torch.no_grad():
        for parameter in session.challenger.network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    stale = session.collector.actors.states[0].memory["keys"].clone()
    assert session.accept(session.validate(2))  # the first one
    found = session.collector.actors.states[0].memory["keys"].clone()
    session.collector.refresh()
    torch.testing.assert_close(found, session.collector.actors.states[0].memory["keys"])
    assert not torch.allclose(found, stale, atol=1e-3)
    session.close()


def test_a_broken_learner_does_not_harm_the_incumbent(begun: Path, tmp_path: Path) -> None:
    """The planted fault: the learner produces noise. The acting and the saved agent stay unchanged."""
    before = seqel.evaluate(Agent.load(begun / "agent"), Echo, 20, seed=50).mean
    assert before > 7.5
    breaking = {"learner.learning_rate": 5.0, "learner.warmup": 0, "learner.max_grad_norm": 0.0}
    for acts in ("incumbent", "averaged"):
        settings = (
            PROVEN | breaking | {"learner.acting_weights": acts, "exploration.bonus": 0.0, "exploration.high": 1e-4}
        )
        out = tmp_path / acts
        kept = seqel.train(Echo, init_from=begun, steps=2_000, settings=settings, out=out, progress=False)
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        assert lines[0]["steps"] == 0 and "validation" in lines[0], "the starting agent is validated first"
        assert seqel.evaluate(kept, Echo, 20, seed=50).mean >= before, (
            "the best validation is kept, including the first one"
        )
        live = lines[-1]["return"]
        if acts == "incumbent":
            guarded, broken = live, min(line["validation"]["mean"] for line in lines if "validation" in line)
    assert broken < before - 1.0, "the planted fault has an effect"
    assert guarded > live + 0.5, "three quarters of the episodes are still played by the incumbent"


def test_a_resumed_run_equals_the_uninterrupted_one(begun: Path, tmp_path: Path) -> None:
    settings = PROVEN | {"learner.schedule": "constant"}
    whole = seqel.train(Echo, init_from=begun, steps=600, settings=settings, out=tmp_path / "a", progress=False)
    seqel.train(Echo, init_from=begun, steps=300, settings=settings, out=tmp_path / "b", progress=False)
    halves = resume(tmp_path / "b", env=resolve(Echo), steps=600, progress=False)
    other = halves.network.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in whole.network.state_dict().items())


def test_a_lost_agent_is_restored_from_the_checkpoint_not_from_the_learner(begun: Path, tmp_path: Path) -> None:
    breaking = {
        "learner.learning_rate": 5.0,
        "learner.warmup": 0,
        "learner.max_grad_norm": 0.0,
        "learner.schedule": "constant",
    }
    out = tmp_path / "run"
    kept = seqel.train(Echo, init_from=begun, steps=600, settings=PROVEN | breaking, out=out, progress=False)
    weights = out / "agent" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    again = resume(out, env=resolve(Echo), steps=1_000, progress=False)
    other = again.network.state_dict()
    same = [name for name, value in other.items() if value.ndim and "head" not in name]  # the head has another unit
    assert all(torch.equal(value, other[name]) for name, value in kept.network.state_dict().items() if name in same)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["steps"] for line in lines].count(0) == 1, "the starting agent is validated once"


def test_a_run_started_from_an_agent_in_memory_can_be_continued(begun: Path, tmp_path: Path) -> None:
    agent = Agent.load(begun / "agent")
    seqel.train(Echo, init_from=agent, steps=300, settings=PROVEN, out=tmp_path / "run", progress=False)
    assert seqel.evaluate(resume(tmp_path / "run", env=resolve(Echo), steps=500, progress=False), Echo, 4).mean > 4


def test_a_restarted_run_drops_its_first_validation(begun: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    seqel.train(Echo, init_from=begun, steps=300, settings=PROVEN, out=out, progress=False)
    shutil.rmtree(out / "checkpoints")
    resume(out, env=resolve(Echo), steps=400, progress=False)
    steps = [json.loads(line)["steps"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps)) and steps[0] == 0


def test_a_starting_agent_that_meets_the_threshold_is_kept_and_ends_the_run(begun: Path, tmp_path: Path) -> None:
    """The settings may name the starting agent."""
    given = {"init_from": str(begun), "validation.threshold": 4.5, "validation.stop": True, "validation.confirm": 8}
    seqel.train(Echo, steps=5_000, settings=PROVEN | given, out=tmp_path / "run", progress=False)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["solved"] and summary["steps"] == 0 and summary["best"]["steps"] == 0


def test_an_agent_with_memory_is_refused_as_the_start_of_a_memoryless_twin(begun: Path) -> None:
    with pytest.raises(ConfigError, match="the agent to start from has a memory"):
        seqel.train(Echo, init_from=begun, memoryless=True, settings=PROVEN, progress=False)


def test_an_incumbent_needs_a_starting_agent_and_two_environments() -> None:
    with pytest.raises(ConfigError, match="needs an agent to start from"):
        OnlineTrainer(with_settings(preset("default"), PROVEN), resolve(Echo))
    with pytest.raises(ConfigError, match="environments >= 2"):
        with_settings(preset("default"), PROVEN | {"environments": 1})
