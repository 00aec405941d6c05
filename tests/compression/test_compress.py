"""The whole: what loses little is saved and loads, what loses too much leaves no file."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compression.conftest import Mirror
from seqel.agents.agent import Agent
from seqel.compression import DistillationConfig, compress, compressing
from seqel.compression.experience import Played, Recorded
from seqel.compression.report import Compression, Variant
from seqel.compression.shape import parameters_of
from seqel.deployment.runtime import ExportedAgent
from seqel.environments.seeds import TRAINING
from seqel.errors import ConfigError, MissingExtraError, SpaceError
from seqel.losses.config import ObjectiveConfig
from seqel.replay.in_memory_dataset import InMemoryDataset
from seqel.types import Episode
from support import Dials, Scripted, network

NONE = DistillationConfig(updates=0, steps=200, tokens=128)
SHORT = DistillationConfig(updates=150, steps=1_200, tokens=128)
LONGER = DistillationConfig(updates=250, steps=2_000, tokens=256)


@pytest.fixture
def without_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out exported versions, which take seconds."""
    monkeypatch.setattr(compressing, "EXTRA", ("seqel.no_such_module",))


@pytest.fixture
def mirror(agent: Agent) -> Callable[[], Mirror]:
    return partial(Mirror, Agent(agent.network))


def test_distillation_wins_back_what_pruning_lost_and_the_result_is_saved(
    agent: Agent, mirror: Callable[[], Mirror], tmp_path: Path
) -> None:
    shares: list[float] = []
    before = {name: tensor.clone() for name, tensor in agent.network.state_dict().items()}
    found = compress(
        agent, mirror, target_size=0.25, max_drop=0.3, episodes=12, decisions=200, distillation=LONGER,
        out=tmp_path / "small",
        progress=lambda share, note: shares.append(share),
    )  # fmt: skip
    assert all(torch.equal(before[name], tensor) for name, tensor in agent.network.state_dict().items())
    rows = {row.name: row for row in found.variants}
    assert list(rows) == ["full", "full int8", "pruned", "distilled", "distilled int8"]
    full, pruned, distilled = rows["full"], rows["pruned"], rows["distilled"]
    assert full.mean == 8.0 and full.agreement == 1.0 and full.drop is not None and full.drop.value == 0.0
    assert pruned.drop is not None and distilled.drop is not None
    assert distilled.drop.value < 0.3 and distilled.drop.value < pruned.drop.value - 0.05
    assert distilled.agreement is not None and pruned.agreement is not None
    assert distilled.agreement > pruned.agreement
    assert not pruned.kept and distilled.kept
    assert distilled.parameters <= 0.25 * full.parameters and rows["distilled int8"].bytes
    assert shares == sorted(shares) and shares[-1] == 1.0
    assert sorted(path.name for path in (tmp_path / "small").iterdir()) == sorted([*found.saved, "compression.json"])
    loaded, exported = Agent.load(tmp_path / "small"), ExportedAgent(tmp_path / "small" / "agent.onnx")
    assert parameters_of(loaded.network).total == distilled.parameters
    assert exported.info["validation"] is None  # the figures of the full agent are not the small one's
    seen = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    np.testing.assert_allclose(exported.act(seen)[0].q, loaded.act(seen)[0].q, rtol=1e-4, atol=1e-5)
    told = json.loads((tmp_path / "small" / "compression.json").read_text())
    assert told["variants"][0]["mean"] == 8.0 and "at most 30.0%" in told["rule"]


@pytest.mark.usefixtures("without_export")
def test_what_loses_too_much_leaves_no_file(agent: Agent, mirror: Callable[[], Mirror], tmp_path: Path) -> None:
    found = compress(
        agent, mirror, target_size=0.2, episodes=4, decisions=100, out=tmp_path / "small", distillation=NONE, int8=False
    )
    assert not found.any_kept and found.agent is None and not found.saved
    assert list(tmp_path.iterdir()) == []


def test_a_size_of_one_only_quantises(agent: Agent, mirror: Callable[[], Mirror], tmp_path: Path) -> None:
    found = compress(
        agent,
        mirror,
        target_size=1.0,
        max_drop=0.1,
        episodes=8,
        decisions=200,
        out=tmp_path / "small",
        distillation=NONE,
    )
    assert [row.name for row in found.variants] == ["full", "full int8"]
    assert list(found.saved) == ["agent-int8.onnx"] and "full" in found.saved["agent-int8.onnx"]
    assert sorted(path.name for path in (tmp_path / "small").iterdir()) == ["agent-int8.onnx", "compression.json"]
    assert found.as_json()["loss"] is None


def recorded(agent: Agent, count: int = 40) -> InMemoryDataset:
    rng = np.random.default_rng(0)
    episodes = [
        Episode(
            {"observation": rng.standard_normal((9, 3)).astype(np.float32)},
            rng.integers(0, 3, (8, 1)),
            rng.standard_normal(8).astype(np.float32),
            terminated=True,
        )
        for _ in range(count)
    ]
    return InMemoryDataset.of(episodes, agent.observation_spec, agent.action_spec)


@pytest.mark.usefixtures("without_export")
def test_recorded_data_give_agreement_and_held_out_scores_instead_of_returns(agent: Agent) -> None:
    found = compress(
        agent, data=recorded(agent), target_size=0.5, distillation=SHORT, max_drop=1.0,
        objective=ObjectiveConfig(0.9, lambda_=0.0),
    )  # fmt: skip
    assert found.metric == "agreement" and "no environment" in found.notes[0]
    assert found.episodes == 4  # a tenth is held out
    rows = {row.name: row for row in found.variants}
    for row in rows.values():
        assert row.mean is None and row.agreement is not None and row.drop is not None
        assert row.drop.value == pytest.approx(1.0 - row.agreement)
        assert row.held_out is not None and row.recorded is not None
    distilled, pruned = rows["distilled"].agreement, rows["pruned"].agreement
    assert distilled is not None and pruned is not None and distilled > pruned


@pytest.mark.usefixtures("without_export")
def test_the_same_seed_gives_the_same_agent(agent: Agent) -> None:
    def weights(seed: int) -> dict[str, torch.Tensor]:
        found = compress(
            agent, Scripted, target_size=0.4, max_drop=1e9, episodes=2, decisions=32, seed=seed,
            distillation=DistillationConfig(updates=10, steps=200, tokens=64),
        )  # fmt: skip
        assert found.agent is not None
        return found.agent.network.state_dict()

    one, same, other = weights(0), weights(0), weights(1)
    assert all(torch.equal(one[name], tensor) for name, tensor in same.items())
    assert not all(one[name].shape == tensor.shape and torch.equal(one[name], tensor) for name, tensor in other.items())


def test_an_int8_version_alone_may_be_saved(agent: Agent, tmp_path: Path) -> None:
    """The distilled agent is refused, its int8 version is not (its own episodes decide): there is a file of it."""
    given = compressing._Given(0.5, 0.02, False, 2, 1, 0, NONE)
    work = compressing._Work(agent, given, tmp_path, exports=False, int8=False, tell=lambda share, note: None)
    (tmp_path / "distilled-int8.onnx").write_bytes(b"a model")
    rows = [
        Variant(name, 1, 1, kept=name.endswith("int8")) for name in ("full", "full int8", "distilled", "distilled int8")
    ]
    result = Compression(rows, {}, {}, 0.5, 0.02, False, "return", 2, 0, None, None)
    work.save(result, tmp_path / "small")
    assert (tmp_path / "small" / "agent-int8.onnx").read_bytes() == b"a model"
    assert "distilled" in result.saved["agent-int8.onnx"]


def test_recorded_histories_do_not_change_with_the_agent(agent: Agent) -> None:
    data = recorded(agent).buffer
    experience = Recorded(data, 5)
    one = experience.sample(64, np.random.default_rng(0))
    experience.play(agent, 100)
    assert torch.equal(one.reward, experience.sample(64, np.random.default_rng(0)).reward)


def test_experience_uses_seeds_of_training_only_and_both_agents_play(agent: Agent) -> None:
    seeds: list[int] = []

    class Seeded(Scripted):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            if seed is not None:
                seeds.append(seed)
            return super().reset(seed=seed)

    played = Played(Seeded, agent, 400, seed=0)
    try:
        played.play(agent, 100)
        before = len(played.replay)
        other = Agent(network(std=2.0))
        played.play(other, 100)
        assert played.collector.actors.agent is other
        assert before >= 100 and len(played.replay) >= before + 100
        batch = played.sample(200, np.random.default_rng(0))
        assert 100 < int(batch.loss_mask.sum()) < 400
    finally:
        played.close()
    assert len(seeds) > 32 and all(seed in TRAINING for seed in seeds)


@pytest.mark.usefixtures("without_export")
def test_several_action_dimensions_and_masks() -> None:
    from seqel.environments.probe import probe
    from seqel.networks.config import NetworkConfig
    from seqel.networks.qnetwork import QNetwork

    seen = probe(Dials)
    torch.manual_seed(0)
    net = QNetwork(NetworkConfig(width=16, heads=2, layers=2, context=4), seen.observation, seen.action)
    torch.nn.init.normal_(net.head.get_parameter("advantage.weight"))
    found = compress(Agent(net), Dials, target_size=0.5, max_drop=1.0, episodes=4, decisions=300, distillation=SHORT)
    rows = {row.name: row for row in found.variants}
    assert rows["distilled"].agreement is not None and rows["distilled"].agreement > 0.6


@pytest.mark.usefixtures("without_export")
def test_8_bits_that_are_asked_for_need_the_extra(agent: Agent) -> None:
    with pytest.raises(MissingExtraError, match="serve"):
        compress(agent, Scripted, int8=True)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"target_size": 0.0}, "target_size"),
        ({"target_size": 1.5}, "target_size"),
        ({"max_drop": -0.1}, "max_drop"),
        ({"max_drop": float("nan")}, "max_drop"),
        ({"episodes": 1}, "episodes"),
        ({"decisions": 0}, "decisions"),
        ({"seed": -1}, "seed"),
        ({"env": None}, "got neither"),
    ],
)
def test_arguments_out_of_range_are_refused(agent: Agent, given: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        compress(agent, **{"env": Scripted} | given)


def test_data_beside_an_environment_a_taken_folder_and_other_trunks_are_refused(agent: Agent, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="got both"):
        compress(agent, Scripted, data=recorded(agent))
    with pytest.raises(ConfigError, match="exists already"):
        compress(agent, Scripted, out=tmp_path)
    with pytest.raises(ConfigError, match="transformer"):
        compress(Agent(network(trunk="gru")), Scripted)
    with pytest.raises(SpaceError, match="trained on"):
        compress(agent, "CartPole-v1")
    with pytest.raises(SpaceError, match="recorded data"):
        compress(Agent(network(actions=5)), data=recorded(agent))
    with pytest.raises(ConfigError, match="updates"):
        DistillationConfig(updates=-1)
    with pytest.raises(ConfigError, match="learning_rate"):
        DistillationConfig(learning_rate=0.0)
