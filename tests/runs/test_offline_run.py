"""A run on recorded data: its folder, resume and early stop; and from data to an environment."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

import seqel
from seqel.environments.resolve import resolve
from seqel.errors import CheckpointError, ConfigError, SpaceError
from seqel.replay.in_memory_dataset import InMemoryDataset
from seqel.runs.metrics import HELD_OUT, METRICS, OFFLINE
from seqel.runs.resuming import resume
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.training.config import with_settings
from seqel.training.held_out import HeldOut
from seqel.training.offline.trainer import OfflineTrainer
from seqel.training.online.trainer import OnlineTrainer
from seqel.types import Episode
from support import MAZE, TINY, curves_drawn

QUICK: dict[str, Any] = {
    "network.width": 16, "network.heads": 2, "network.layers": 1, "threads": 1, "device": "cpu", "replay.batch_tokens": 64,
    "offline.updates": 60, "offline.every": 20, "checkpoint_every": 0, "learner.compile": "off",
}  # fmt: skip


def recorded(count: int = 30, seed: int = 1) -> InMemoryDataset:
    """Random play in a corridor with a reward at the end."""
    env = resolve(MAZE)()
    observation, action = ObservationSpec.from_space(env.observation_space), ActionSpec.from_space(env.action_space)
    rng = np.random.default_rng(seed)
    episodes = []
    for number in range(count):
        seen = [observation.flatten(env.reset(seed=number)[0], None)]
        done, actions, rewards = False, [], []
        while not done:
            actions.append(int(rng.integers(action.actions)))
            reached, reward, terminated, truncated, _ = env.step(actions[-1])
            seen.append(observation.flatten(reached, None))
            rewards.append(float(reward))
            done = terminated or truncated
        leaves = {path: np.stack([one[path] for one in seen]) for path in seen[0]}
        episodes.append(
            Episode(leaves, np.array(actions)[:, None], np.array(rewards, np.float32), terminated, truncated)
        )
    return InMemoryDataset.of(episodes, observation, action)


@pytest.mark.parametrize("preset", ["offline-cql", "offline-iql", "offline-bcq", "supervised-q", "behaviour-cloning"])
def test_every_preset_learns_saves_and_acts(preset: str, tmp_path: Path) -> None:
    with curves_drawn():
        agent = seqel.train(data=recorded(), preset=preset, settings=QUICK, out=tmp_path / "run", progress=False)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["updates"] for line in lines] == [20, 40, 60]
    assert {"unexplained", "agreement", "first_value", "first_return", "sessions"} <= set(lines[0]["validation"])
    documented = {*METRICS, *OFFLINE, "validation"}
    assert {name for line in lines for name in line} <= documented
    assert {name for line in lines for name in line["validation"]} <= set(HELD_OUT)
    assert (tmp_path / "run" / "learning-curve.png").stat().st_size > 5_000
    again = seqel.Agent.load(tmp_path / "run")
    result = seqel.evaluate(again, MAZE, 4)
    assert np.isfinite(result.mean) and agent.info["discount"] == 0.99


def test_cloning_recovers_a_deterministic_player(tmp_path: Path) -> None:
    """Random play of two actions has 0.69 nats; a player that alternates has 0, which only a history can predict."""
    base = recorded(40)
    numbers = base.buffer.table.numbers
    episodes = []
    for slot, length in numbers[:, :2].tolist():
        seen = {"observation": base.buffer.slots.columns["observation/observation"][slot : slot + length + 1]}
        actions = (np.arange(length) % 2)[:, None]
        episodes.append(Episode(seen, actions, np.zeros(length, np.float32), True))
    data = InMemoryDataset.of(episodes, base.observation, base.action)
    settings = QUICK | {"offline.updates": 300, "offline.every": 300, "learner.learning_rate": 3e-3}
    agent = seqel.train(data=data, preset="behaviour-cloning", settings=settings, out=tmp_path / "r", progress=False)
    assert cast(Any, agent.info["validation"])["mean"] > -0.2


def test_resume_equals_uninterrupted(tmp_path: Path) -> None:
    whole = seqel.train(data=recorded(), preset="offline-cql", settings=QUICK, out=tmp_path / "a", progress=False)
    short = QUICK | {"offline.updates": 40}
    # the schedule follows the total: a run that must equal the whole one must have planned for it
    settings = short | {"learner.schedule": "constant"}
    whole = seqel.train(
        data=recorded(), preset="offline-cql", settings=QUICK | {"learner.schedule": "constant"}, out=tmp_path / "b",
        progress=False,
    )  # fmt: skip
    seqel.train(data=recorded(), preset="offline-cql", settings=settings, out=tmp_path / "c", progress=False)
    gone_on = resume(tmp_path / "c", data=recorded(), steps=60, progress=False)
    for one, other in zip(whole.network.parameters(), gone_on.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0.0, atol=0.0)
    kept = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("b", "c")]
    for one_line, other_line in zip(*kept, strict=True):
        first, second = json.loads(one_line), json.loads(other_line)
        assert first["loss"] == second["loss"] and first["validation"] == second["validation"]


def test_resuming_with_other_data_is_refused(tmp_path: Path) -> None:
    seqel.train(data=recorded(), preset="offline-cql", settings=QUICK, out=tmp_path / "run", progress=False)
    with pytest.raises(CheckpointError, match="training transitions"):
        resume(tmp_path / "run", data=recorded(31), steps=80, progress=False)


def test_a_falling_held_out_score_ends_the_run(tmp_path: Path) -> None:
    settings = QUICK | {
        "offline.updates": 2_000,
        "offline.every": 5,
        "offline.patience": 3,
        "learner.learning_rate": 0.05,
    }
    seqel.train(data=recorded(), preset="behaviour-cloning", settings=settings, out=tmp_path / "run", progress=False)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["updates"] < 2_000 and summary["solved"]
    assert summary["final"]["updates"] - summary["best"]["updates"] == 15


def test_from_data_to_the_environment(tmp_path: Path) -> None:
    data = recorded()
    settings = QUICK | {"offline.updates": 20}
    start = seqel.train(data=data, preset="offline-cql", settings=settings, out=tmp_path / "old", progress=False)
    online = TINY | {
        "exploration.bonus": 0.0, "objective.cql_alpha": 0.1, "network.layers": 3, "network.step_dropout": 0.1,
    }  # fmt: skip
    agent = seqel.train(
        MAZE, init_from=start, data=data, steps=400, settings=online, out=tmp_path / "new", progress=False
    )
    assert agent.network.config == dataclasses.replace(start.network.config, novelty=True, step_dropout=0.1), (
        "the shape is the starting agent's, whatever the settings say, but for the head that exploration needs"
    )
    after = dict(agent.network.named_parameters())
    assert any(not torch.equal(after[name], value) for name, value in start.network.named_parameters())
    lines = [json.loads(line) for line in (tmp_path / "new" / "metrics.jsonl").read_text().splitlines()]
    assert "conservative" in lines[-1]
    assert "network.layers = 3 is not used: the agent to start from has 1" in lines[0]["notes"]

    resume(tmp_path / "new", data=data, steps=600, progress=False)
    lines = [json.loads(line) for line in (tmp_path / "new" / "metrics.jsonl").read_text().splitlines()]
    assert sum("is not used" in note for line in lines for note in line.get("notes", ())) == 1
    assert lines[-1]["steps"] == 600


def test_a_further_trained_agent_is_never_trained_on_its_held_out_sessions() -> None:
    data = recorded()
    trained, held = data.split(0.3, 5)
    begun = OfflineTrainer(
        with_settings(seqel.preset("offline-cql"), QUICK | {"offline.held_out": 0.3, "seed": 5}), data
    )
    assert len(held) and begun.agent.info["held_out"] == {"share": 0.3, "seed": 5}
    config = with_settings(seqel.preset("default"), TINY | {"env": "maze", "seed": 6})
    gone_on = OnlineTrainer(config, resolve(MAZE), initial_agent=begun.agent, source=data)
    assert gone_on.recorded_episodes is not None
    slot = gone_on.recorded_episodes.table.SLOT
    left = data.buffer.table.numbers
    assert gone_on.recorded_episodes.table.numbers[:, slot].tolist() == left[trained, slot].tolist()
    assert not set(left[held, slot].tolist()) & set(gone_on.recorded_episodes.table.numbers[:, slot].tolist())


def test_incompatible_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected an environment, data, or both"):
        seqel.train()
    with pytest.raises(ConfigError, match="schema"):
        seqel.train(data="somewhere.csv")
    with pytest.raises(SpaceError, match="recorded data"):
        seqel.train("CartPole-v1", data=recorded(), settings=TINY, out=tmp_path / "x", progress=False)
    with pytest.raises(ConfigError, match="expected one of"):
        seqel.train(data=recorded(), preset="offline")


def session_of(preset: str, **settings: Any) -> OfflineTrainer:
    return OfflineTrainer(with_settings(seqel.preset(preset), QUICK | settings), recorded())


def held_out(score: float) -> HeldOut:
    return HeldOut(score, -score, 0.0, None, 0.0, 0.0, 0.0, 1)


def test_values_are_kept_unless_clearly_worse_and_imitation_only_if_it_is_the_best() -> None:
    values = session_of("offline-cql")
    waited = []
    for score in (-0.40, -0.20, -0.24, -0.26, -0.20, -0.40, -0.24):  # more than 0.05 is clearly worse
        values.accept(held_out(score))
        waited.append(values.checks_since_best)
    assert waited == [0, 0, 0, 1, 0, 1, 0] and values.best == -0.20
    clone = session_of("behaviour-cloning")
    waited = []
    for score in (-0.40, -0.39, -0.395, -0.39):
        clone.accept(held_out(score))
        waited.append(clone.checks_since_best)
    assert waited == [0, 0, 1, 0]


def test_the_averaged_weights_are_kept(tmp_path: Path) -> None:
    session = session_of("offline-cql")
    for _ in range(5):
        session.update()
    slow = dict(session.learner.target.named_parameters())
    assert all(torch.equal(value, slow[name]) for name, value in session.best_agent.network.named_parameters())
    assert any(not torch.equal(value, slow[name]) for name, value in session.agent.network.named_parameters())
    copied = session_of("offline-cql", **{"learner.target": "copy"})
    assert copied.best_agent is copied.agent


def test_the_memoryless_twin_trains_on_the_same_windows() -> None:
    twin, other = session_of("offline-cql", memoryless=True), session_of("offline-cql")
    assert twin.config.network.context == 1 and twin.config.replay.window == other.config.replay.window > 1


def test_the_averaged_weights_may_act(tmp_path: Path) -> None:
    newest, averaged = (
        OnlineTrainer(
            with_settings(seqel.preset("default"), TINY | {"env": "maze", "learner.acting_weights": acts}),
            resolve(MAZE),
        )
        for acts in ("latest", "averaged")
    )
    assert newest.agent.network is newest.learner.network and newest.last_agent.network is newest.average.network
    assert averaged.agent.network is averaged.last_agent.network is averaged.average.network
    for session in (newest, averaged):
        session.close()
    settings = TINY | {"learner.acting_weights": "averaged", "checkpoint_every": 0.0}
    whole = seqel.train(MAZE, steps=400, settings=settings, out=tmp_path / "a", progress=False)
    seqel.train(
        MAZE, steps=200, settings=settings | {"learner.schedule": "constant"}, out=tmp_path / "b", progress=False
    )
    assert np.isfinite(seqel.evaluate(whole, MAZE, 4).mean)
    saved = seqel.Agent.load(tmp_path / "b" / "agent-last")
    resume(tmp_path / "b", env=resolve(MAZE), steps=400, progress=False)
    gone_on = seqel.Agent.load(tmp_path / "b" / "agent-last")
    assert any(
        not torch.equal(one, two)
        for one, two in zip(saved.network.parameters(), gone_on.network.parameters(), strict=True)
    )


def test_training_on_data_only_uses_conservative_q_learning_by_default(tmp_path: Path) -> None:
    agent = seqel.train(data=recorded(), settings=QUICK | {"offline.updates": 5}, out=tmp_path / "run", progress=False)
    assert "cql_alpha = 0.05" in (tmp_path / "run" / "config.toml").read_text() and agent.info["discount"] == 0.99


def test_a_run_on_data_in_memory_says_what_it_needs_to_continue(tmp_path: Path) -> None:
    seqel.train(data=recorded(), settings=QUICK, out=tmp_path / "run", progress=False)
    with pytest.raises(ConfigError, match="data in memory: pass them"):
        resume(tmp_path / "run", steps=80, progress=False)
    other = recorded(seed=2)
    assert len(other.buffer) == len(recorded().buffer)
    with pytest.raises(CheckpointError, match="other actions or rewards"):
        resume(tmp_path / "run", data=other, steps=80, progress=False)


def test_the_return_of_sessions_of_one_length_is_known() -> None:
    session = session_of("offline-cql")
    assert len(set(session.held_out_episodes.lengths.tolist())) == 1
    assert np.isfinite(session.validate().first_return)


@pytest.mark.parametrize("settings", [{"objective.iql_expectile": 0.9}, {"network.policy_head": "constraint"}])
def test_distributions_refuse_what_they_would_ignore(settings: dict[str, Any]) -> None:
    more = {
        "network.value": "c51",
        "objective.lambda_": 0.0,
        "objective.cloning_weight": 1.0,
        "objective.cql_alpha": 0.0,
    }
    with pytest.raises(ConfigError, match="trained towards the best action only"):
        session_of("offline-cql", **more, **settings)


def test_a_batch_is_split_by_transitions_not_by_windows() -> None:
    session = OnlineTrainer(
        with_settings(seqel.preset("default"), TINY | {"env": "maze", "replay.batch_tokens": 200, "offline.fraction": 0.25}),
        resolve(MAZE), source=recorded(),
    )  # fmt: skip
    session.collector.begin()
    while not session.update_due:
        session.collect()
    window = session.config.replay.window
    live, old = session.batches.split(window)
    assert session.recorded_episodes is not None
    short = float(np.minimum(session.recorded_episodes.lengths, window).mean())
    long = min(window, len(session.replay) / session.replay.episodes)
    assert live == round(150 / (long + 1)) and old == round(50 / (short + 1))
    session.close()


def test_values_are_learned_and_the_policy_is_kept(tmp_path: Path) -> None:
    """From a cloned agent; without distillation the same training changes its policy. A resumed run keeps the same policy."""
    data = recorded()
    head = QUICK | {"network.policy_head": "auxiliary", "network.state_value": True, "offline.every": 100}
    cloned = head | {"objective.cloning_weight": 1.0, "objective.td_weight": 0.0, "offline.updates": 100}
    start = seqel.train(data=data, preset="behaviour-cloning", settings=cloned, out=tmp_path / "cloned", progress=False)
    fits = head | {
        "objective.td_weight": 5.0, "objective.cloning_weight": 0.0, "objective.iql_expectile": 0.5, "offline.updates": 100,
        "learner.learning_rate": 3e-3, "learner.schedule": "constant",
    }  # fmt: skip

    def policy(agent: seqel.Agent) -> torch.Tensor:
        rng = np.random.default_rng(0)
        seen = rng.normal(size=(50, *agent.observation_spec.leaves[0].shape)).astype(np.float32)
        state = agent.initial_state(50)
        nothing = np.zeros((50, 1), np.int64)
        out = agent.outputs(
            agent.observation_spec.flatten(seen, 50), state, reward=np.zeros(50, np.float32), first=np.ones(50, bool),
            previous_action=nothing,
        )  # fmt: skip
        assert out.policy_logits is not None
        return torch.log_softmax(out.policy_logits[:, 0], dim=-1)

    def distance(name: str, weight: float, updates: int = 100) -> float:
        settings = fits | {"objective.distillation_weight": weight, "offline.updates": updates}
        if weight == 0.0:
            settings |= {"objective.cloning_weight": 1e-6}  # a head has to be trained by something
        found = seqel.train(
            data=data, init_from=start, settings=settings, preset="offline-bcq", out=tmp_path / name, progress=False
        )
        return float((policy(found).exp() * (policy(found) - policy(start))).sum(dim=-1).mean())

    kept, lost = distance("kept", 10.0), distance("lost", 0.0)
    assert kept < 0.3 * lost, (kept, lost)
    distance("half", 10.0, updates=60)
    resumed = resume(tmp_path / "half", data=data, steps=100, progress=False)
    whole = seqel.Agent.load(tmp_path / "kept" / "agent-last")
    again = seqel.Agent.load(tmp_path / "half" / "agent-last")
    for one, other in zip(whole.network.parameters(), again.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0.0, atol=0.0)
    assert resumed.network.config == start.network.config
    with pytest.raises(ConfigError, match="needs an agent to start from"):
        seqel.train(
            data=data, settings=fits | {"objective.distillation_weight": 1.0}, out=tmp_path / "none", progress=False
        )
