"""An exported agent decides like the agent, and other files are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import onnx
import pytest
import torch

from seqel.agents.agent import Agent
from seqel.deployment.export import export
from seqel.deployment.parity import compare_export, random_episodes
from seqel.deployment.runtime import ExportedAgent
from seqel.errors import CheckpointError, ConfigError, SpaceError
from seqel.integrity import sealed_model
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.networks.trunks.gru import GRUTrunk
from seqel.spaces import ActionSpec, ObservationSpec
from support import SPACE, network

NESTED = gym.spaces.Dict(
    {
        "image": gym.spaces.Box(0, 10, (5, 5, 3), np.uint8),  # a grid of codes
        "picture": gym.spaces.Box(0, 255, (36, 36, 1), np.uint8),
        "direction": gym.spaces.Discrete(4),
        "mission": gym.spaces.Text(20),
        "place": gym.spaces.Box(-1.0, 1.0, (2,), np.float32),
    }
)


@pytest.mark.parametrize("rows", [1, 2, 7])
def test_the_exported_agent_decides_like_the_agent_long_after_the_ring_has_wrapped(pair: Any, rows: int) -> None:
    agent, exported = pair.agent, pair.exported
    rng = np.random.default_rng(rows)
    one = other = None
    for step in range(40):  # context 5
        seen = rng.standard_normal((rows, 3)).astype(np.float32)
        given = {
            "reward": rng.standard_normal(rows).astype(np.float32),
            "first": rng.random(rows) < 0.1,
            "mask": (rng.random((rows, 3)) < 0.7) | np.eye(3, dtype=bool)[step % 3],
            "previous_action": rng.integers(0, 3, rows) if step % 4 == 3 else None,
        }
        decided, one = agent.act(seen, one, **given)
        again, other = exported.act(seen, other, **given)
        np.testing.assert_allclose(again.q, decided.q, rtol=1e-4, atol=1e-5)
        assert (again.action == decided.action).all()


def test_some_rows_and_candidates_are_decided_as_by_the_agent(pair: Any) -> None:
    agent, exported = pair.agent, pair.exported
    rng = np.random.default_rng(5)
    one, other = agent.initial_state(6), exported.initial_state(6)
    for step in range(40):
        rows = rng.permutation(6)[: rng.integers(1, 7)]
        seen = rng.standard_normal((len(rows), 3)).astype(np.float32)
        candidates = np.stack([rng.permutation([0, 1, 2, -1])[:3] for _ in rows]) if step % 2 else None
        given = {"reward": rng.standard_normal(len(rows)), "first": rng.random(len(rows)) < 0.1, "rows": rows}
        decided, one = agent.act(seen, one, candidates=candidates, **given)
        again, other = exported.act(seen, other, candidates=candidates, **given)
        np.testing.assert_allclose(again.q, decided.q, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(again.action, decided.action)
    with pytest.raises(SpaceError, match="rows: expected each row at most once"):
        exported.act(np.zeros((2, 3), np.float32), other, rows=[1, 1])
    with pytest.raises(SpaceError, match="a mask or candidates, got both"):
        exported.act(np.zeros((1, 3), np.float32), other, rows=[0], mask=[[True] * 3], candidates=[[0]])
    with pytest.raises(SpaceError, match="rows: expected a state"):
        exported.act(np.zeros((1, 3), np.float32), rows=[0])


def test_every_kind_of_observation_can_be_exported(tmp_path: Path) -> None:
    spec = ObservationSpec.from_space(NESTED)
    torch.manual_seed(1)
    net = QNetwork(NetworkConfig(width=16, heads=2, context=4, value="hl-gauss"), spec, ActionSpec((4,), (2,)))
    for parameter in net.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    agent = Agent(net)
    exported = ExportedAgent(export(agent, tmp_path / "agent.onnx"))
    NESTED.seed(0)
    states: list[Any] = [None, None]
    for _ in range(10):
        seen = [NESTED.sample() for _ in range(3)]
        parts: dict[str, list[Any]] = {name: [one[name] for one in seen] for name in NESTED.spaces}
        batched = {k: tuple(v) if k == "mission" else np.stack(v) for k, v in parts.items()}
        decided, states[0] = agent.act(batched, states[0])
        again, states[1] = exported.act(batched, states[1])
        np.testing.assert_allclose(again.q, decided.q, rtol=1e-4, atol=1e-5)
        assert (again.action == decided.action).all() and (again.action >= 2).all()


def test_previous_actions_are_read_in_an_action_space_that_does_not_start_at_zero(tmp_path: Path) -> None:
    torch.manual_seed(2)
    spec = ObservationSpec.from_space(SPACE)
    net = QNetwork(NetworkConfig(width=16, heads=2, context=4), spec, ActionSpec((3,), (5,)))
    for parameter in net.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    agent = Agent(net)
    exported = ExportedAgent(export(agent, tmp_path / "agent.onnx"))
    seen = np.ones((3, 3), np.float32)
    q = []
    actors: tuple[Any, Any] = agent, exported
    for actor in actors:
        _, state = actor.act(seen)
        decided, _ = actor.act(seen, state, previous_action=np.array([5, 6, 7]))
        q.append(decided.q)
        assert np.ptp(decided.q, axis=0).min() > 1e-3, "the three actions are distinguished"
    np.testing.assert_allclose(q[1], q[0], rtol=1e-4, atol=1e-5)
    for outside in (4, 8):
        with pytest.raises(SpaceError, match="previous_action"):
            exported.act(seen, previous_action=np.array([5, 6, outside]))


def test_export_leaves_the_agent_unchanged(pair: Any) -> None:
    assert all(torch.equal(value, pair.before[name]) for name, value in pair.agent.network.state_dict().items())
    assert not pair.agent.network.training
    assert pair.exported.info == pair.agent.info == {"env": "Somewhere-v0", "masked": True}


def test_arguments_that_do_not_fit_are_refused(pair: Any) -> None:
    exported = pair.exported
    seen, state = np.zeros((2, 3), np.float32), exported.initial_state(2)
    with pytest.raises(SpaceError, match=r"reward: expected \[2\], got \[3\]"):
        exported.act(seen, state, reward=np.zeros(3))
    with pytest.raises(SpaceError, match=r"mask: rows \[1\] allow no action"):
        exported.act(seen, state, mask=np.array([[True, False, False], [False] * 3]))
    with pytest.raises(SpaceError, match="previous_action: expected actions of the action space"):
        exported.act(seen, state, previous_action=[0, 3])
    with pytest.raises(SpaceError):
        exported.act(np.zeros((3, 3), np.float32), state)
    assert (state.position == 0).all(), "nothing was remembered"
    assert not any(array.any() for array in state.arrays.values())


def test_a_trunk_without_a_pure_step_is_not_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GRUTrunk, "exportable", False)
    with pytest.raises(ConfigError, match="expected trunk = 'transformer', got an agent with 'gru'"):
        export(Agent(network(trunk="gru")), tmp_path / "agent.onnx")
    assert not list(tmp_path.iterdir())


def test_a_gru_of_several_layers_and_all_kinds_of_heads_is_exported(tmp_path: Path) -> None:
    agent = Agent(network(trunk="gru", layers=3, value="hl-gauss", policy_head="constraint"))
    exported = ExportedAgent(export(agent, tmp_path / "agent.onnx"))
    found = compare_export(agent, exported, random_episodes(agent, 2))
    assert found.equal and found.agreement == 1.0
    assert exported.layout.keep == 0 and exported.layout.bytes_per_row == 4 * 3 * 16


def test_a_file_that_is_not_an_exported_agent_is_refused(pair: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        ExportedAgent(tmp_path / "missing.onnx")
    with pytest.raises(CheckpointError, match="cannot be read"):
        ExportedAgent(tmp_path)
    path = tmp_path / "agent.onnx"
    whole = pair.file.read_bytes()
    model = onnx.load_from_string(whole)
    onnx.checker.check_model(model)
    assert [one.key for one in model.metadata_props][-2:] == ["seqel", "crc32"]
    for content in (
        b"",
        whole[: len(whole) // 2],
        whole + b"\n",
        onnx.load_from_string(whole[:-19]).SerializeToString(),
    ):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="damaged, was changed by another program, or is no exported agent"):
            ExportedAgent(path)
    described = json.loads(model.metadata_props[-2].value)
    kind = "ring" if "ring" in described else "hidden"
    del model.metadata_props[:]
    for metadata, message in (
        ({}, "metadata 'seqel' is damaged"),
        ({"seqel": '{"format": 99}'}, "expected format 2, got 99"),
        ({"seqel": '{"format": 2, "observation": 3}'}, "metadata 'seqel' is damaged"),
        ({"seqel": json.dumps(described | {kind: {"layers": "x"}})}, "metadata 'seqel' is damaged"),
        ({"seqel": json.dumps(described | {kind: None})}, "metadata 'seqel' is damaged"),
    ):
        onnx.helper.set_model_props(model, metadata)
        path.write_bytes(sealed_model(model.SerializeToString()))
        with pytest.raises(CheckpointError, match=message):
            ExportedAgent(path)
    path.write_bytes(sealed_model(b"not a model"))
    with pytest.raises(CheckpointError, match="cannot be run here"):
        ExportedAgent(path)


def test_a_flipped_bit_anywhere_in_an_exported_agent_is_detected(
    pair: tuple[Agent, ExportedAgent], tmp_path: Path
) -> None:
    path = export(pair[0], tmp_path / "agent.onnx")
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    places = {0, 1, len(whole) - 20, len(whole) - 9, len(whole) - 1, *rng.integers(len(whole), size=60).tolist()}
    for at in sorted(places):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << int(rng.integers(8)))]) + whole[at + 1 :])
        with pytest.raises(CheckpointError, match="damaged"):
            ExportedAgent(path)
    path.write_bytes(whole)
    ExportedAgent(path)


def test_acting_from_a_file_needs_no_torch() -> None:
    code = "import sys, seqel.deployment.runtime; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_the_file_describes_the_spaces(pair: Any) -> None:
    assert pair.exported.observation_spec == ObservationSpec.from_space(SPACE)
    assert pair.exported.action_spec == pair.agent.action_spec
