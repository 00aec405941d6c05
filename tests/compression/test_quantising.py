"""An exported agent in 8 bits: smaller, sealed, loadable, and of nearly the same values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from seqel.agents.agent import Agent
from seqel.compression.quantising import quantise
from seqel.deployment.export import export
from seqel.deployment.runtime import ExportedAgent
from seqel.errors import CheckpointError
from support import network


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Agent, Path, Path]:
    folder = tmp_path_factory.mktemp("int8")
    agent = Agent(network(width=64, heads=4, layers=2, std=0.05), {"env": "somewhere", "masked": False})
    path = export(agent, folder / "agent.onnx")
    return agent, path, quantise(path, folder / "agent-int8.onnx")


def test_the_file_is_a_good_deal_smaller_and_holds_8_bit_weights(pair: tuple[Agent, Path, Path]) -> None:
    _, before, after = pair
    assert after.stat().st_size < 0.5 * before.stat().st_size
    kinds = [one.data_type for one in onnx.load(str(after)).graph.initializer if np.prod(one.dims) > 4_000]
    assert kinds and set(kinds) == {onnx.TensorProto.INT8}


def test_small_matrices_stay_in_32_bits(pair: tuple[Agent, Path, Path]) -> None:
    agent, _, after = pair
    head = agent.network.head.get_parameter("advantage.weight").detach().numpy()
    arrays = [onnx.numpy_helper.to_array(one) for one in onnx.load(str(after)).graph.initializer]
    assert any(one.shape in (head.shape, head.T.shape) and one.dtype == np.float32 for one in arrays)


def test_it_decides_nearly_as_the_agent_does_long_after_the_ring_has_wrapped(pair: tuple[Agent, Path, Path]) -> None:
    agent, _, path = pair
    exported = ExportedAgent(path)
    assert exported.info == agent.info and exported.action_spec == agent.action_spec
    rng = np.random.default_rng(0)
    one = other = None
    same, errors, values = [], [], []
    for _ in range(60):
        seen, reward = rng.standard_normal((16, 3)).astype(np.float32), rng.standard_normal(16).astype(np.float32)
        acted = rng.integers(0, 3, 16)
        decided, one = agent.act(seen, one, reward=reward, previous_action=acted)
        again, other = exported.act(seen, other, reward=reward, previous_action=acted)
        same.append((decided.action == again.action).mean())
        errors.append(again.q - decided.q)
        values.append(decided.q)
    assert np.mean(same) > 0.97
    assert np.std(errors) < 0.03 * np.std(values)


def test_the_seal_is_that_of_the_new_content(pair: tuple[Agent, Path, Path], tmp_path: Path) -> None:
    data = bytearray(pair[2].read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "damaged.onnx").write_bytes(data)
    with pytest.raises(CheckpointError, match="checksum"):
        ExportedAgent(tmp_path / "damaged.onnx")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.onnx").write_bytes(b"no model")
    with pytest.raises(CheckpointError, match="exported agent"):
        quantise(tmp_path / "other.onnx", tmp_path / "out.onnx")
    with pytest.raises(CheckpointError, match="cannot be read"):
        quantise(tmp_path / "none.onnx", tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()
