"""Runs with a limit of costs: what is stored, what is refused, exact resume, and what the agent keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

import seqel
from seqel.agents.agent import Agent
from seqel.deployment import ExportedAgent, export
from seqel.environments.resolve import resolve
from seqel.environments.seeds import REPORTS
from seqel.errors import ConfigError, EnvironmentFault
from seqel.evaluation.rollout import summarise
from seqel.stored_trees import load_tree, save_tree
from seqel.training.config import RunConfig, preset
from seqel.training.online.loop import records
from seqel.training.online.trainer import OnlineTrainer
from seqel.trees import flatten

TINY: dict[str, Any] = {
    "steps": 480, "environments": 4, "threads": 1, "device": "cpu", "log_every": 100, "network.width": 16,
    "network.layers": 1, "network.heads": 2, "replay.learning_starts": 60, "replay.batch_tokens": 64,
    "replay.replay_ratio": 2.0, "validation.every": 200, "validation.episodes": 4, "learner.warmup": 5,
    "objective.cost_limit": 1.0,
}  # fmt: skip


class Priced(gym.Env[Any, Any]):
    """Counts steps; each costs a tenth of its number.

    `length`: of an episode; `missing`: the step of training episodes without a cost; `cost`: of every step instead.
    """

    def __init__(self, length: int = 7, missing: int | None = None, cost: Any = None) -> None:
        self.observation_space = gym.spaces.Box(0.0, 1e3, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.length, self.missing, self.cost, self.taken, self.trains = length, missing, cost, 0, False

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.taken, self.trains = 0, seed is not None and seed >= REPORTS.stop
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.taken += 1
        cost = 0.1 * self.taken if self.cost is None else self.cost
        info = {} if self.trains and self.taken == self.missing else {"cost": cost}
        return np.array([self.taken], np.float32), 1.0, self.taken == self.length, False, info


def config(**settings: Any) -> RunConfig:
    return preset("default", **{**TINY, **settings})


def collect(trainer: OnlineTrainer, rounds: int) -> None:
    for _ in range(rounds):
        trainer.collect()


def run(trainer: OnlineTrainer) -> list[Any]:
    trainer.begin()
    return list(records(trainer))


@pytest.mark.parametrize("length", [7, 600])  # 600: an episode is stored in segments
def test_every_stored_step_has_its_own_cost(length: int) -> None:
    trainer = OnlineTrainer(
        config(**{"network.context": 4, "replay.window": 8, "steps": 4_000}), lambda: Priced(length)
    )
    trainer.begin()
    collect(trainer, 620)
    batch = trainer.replay.sample(64, window=8, context=4, discount=0.9, rng=np.random.default_rng(0))
    assert batch.cost is not None
    reached = batch.observation["observation"][:, 1:, 0]
    torch.testing.assert_close(batch.cost, torch.where(batch.valid, 0.1 * reached, 0.0))
    assert (trainer.replay.episodes > 4 * (620 // length)) == (length == 600)
    assert {round(end.cost or 0.0, 4) for end in trainer.recent} == {round(0.05 * length * (length + 1), 4)}
    trainer.close()


def test_an_environment_without_costs_is_refused_before_training() -> None:
    with pytest.raises(ConfigError, match="reports info\\['cost'\\]"):
        OnlineTrainer(config(), resolve("CartPole-v1"))


@pytest.mark.parametrize("given", [{"missing": 3}, {"cost": -1.0}, {"cost": float("nan")}, {"cost": "much"}])
def test_a_step_without_a_usable_cost_is_a_fault_of_the_environment(given: dict[str, Any]) -> None:
    trainer = OnlineTrainer(config(environments=1), lambda: Priced(7, **given))
    trainer.begin()
    with pytest.raises(EnvironmentFault, match="a finite number of at least 0, at every step"):
        collect(trainer, 100)
    trainer.close()


def test_costs_do_not_disturb_runs_without_a_limit() -> None:
    trainer = OnlineTrainer(config(**{"objective.cost_limit": -1.0}), lambda: Priced(7, cost="much"))
    assert trainer.learner.network.cost_multiplier is None
    last = run(trainer)[-1]
    assert "cost" not in last.metrics
    trainer.close()


def test_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    def start() -> OnlineTrainer:
        trainer = OnlineTrainer(config(), resolve("seqel/Courier-v0"))
        trainer.begin()
        return trainer

    def go(trainer: OnlineTrainer, rounds: int) -> None:
        for _ in range(rounds):
            trainer.collect()
            while trainer.update_due:
                trainer.update()

    whole, first = start(), start()
    go(whole, 100)
    go(first, 61)
    save_tree(tmp_path / "state", first.state_dict())
    first.close()
    torch.manual_seed(999)
    other = OnlineTrainer(config(), resolve("seqel/Courier-v0"))
    assert other.load_state_dict(load_tree(tmp_path / "state")) == []
    go(other, 39)
    (text, tensors), (other_text, other_tensors) = (
        flatten(one.state_dict() | {"seconds": 0.0}) for one in (whole, other)
    )
    assert text == other_text
    assert all(torch.equal(tensors[name], other_tensors[name]) for name in tensors)
    assert whole.costs.multiplier is not None and whole.costs.multiplier.mean is not None
    assert float(whole.learner.network.cost_multiplier or 0.0) > 0.0
    for trainer in (whole, other):
        trainer.close()


def test_the_agent_keeps_its_multiplier_and_it_decides(tmp_path: Path) -> None:
    agent = seqel.train("seqel/Courier-v0", out=tmp_path / "run", settings=TINY, seed=1)
    assert agent.cost_multiplier is not None
    torch.nn.init.normal_(agent.network.get_parameter("cost.linear.weight"))
    rng = np.random.default_rng(0)
    seen = rng.uniform(size=(40, 9)).astype(np.float32)
    agent.set_cost_multiplier(0.0)
    plain = agent.act(seen)[0]
    agent.set_cost_multiplier(1e6)
    other = agent.act(seen)[0]
    assert (plain.action != other.action).any()
    again = Agent.load(agent.save(tmp_path / "agent"))
    assert again.cost_multiplier == 1e6
    np.testing.assert_array_equal(again.act(seen)[0].q, other.q)
    exported = ExportedAgent(export(agent, tmp_path / "agent.onnx"))
    np.testing.assert_allclose(exported.act(seen)[0].q, other.q, rtol=1e-4, atol=1e-2)
    for wrong in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ConfigError, match="multiplier"):
            agent.set_cost_multiplier(wrong)
    without = seqel.train("CartPole-v1", out=tmp_path / "plain", settings=TINY | {"objective.cost_limit": -1.0})
    with pytest.raises(ConfigError, match="cost_limit"):
        without.set_cost_multiplier(1.0)


def test_evaluation_counts_costs() -> None:
    found = summarise(np.ones(3), np.full(3, 7), np.full(3, np.nan), 0, 0, np.array([1.0, 2.0, 6.0]))
    assert found.cost == 3.0 and found.costs == [1.0, 2.0, 6.0]
    assert found.cost_interval is not None and found.cost_interval[0] < 3.0 < found.cost_interval[1]
    assert "cost 3.000" in str(found)
    unknown = summarise(np.ones(3), np.full(3, 7), np.full(3, np.nan), 0, 0, np.array([1.0, np.nan, 6.0]))
    assert unknown.cost is None and unknown.costs is None
