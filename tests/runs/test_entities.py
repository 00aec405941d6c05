"""Sets of entities from the environment to the served decision: both conventions through every part of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import seqel
from seqel.deployment.export import export
from seqel.deployment.runtime import ExportedAgent
from seqel.environments.vector import VectorStream, make_vector
from seqel.errors import SpaceError
from seqel.spaces import ActionSpec, ObservationSpec
from support import TINY

FEATURES = 3


class Flock(gym.Env[Any, Any]):
    """Birds come and go; the reward asks whether there are more on the left (0) or on the right (1)."""

    action_space = gym.spaces.Discrete(2)
    metadata: dict[str, Any] = {"render_modes": [], "seqel": {"observation": {"birds": 5}}}  # noqa: RUF012

    def __init__(self, free: bool = True, filler: float = 0.0) -> None:
        row = gym.spaces.Box(-np.inf, np.inf, (FEATURES,))
        birds: Any = gym.spaces.Sequence(row)
        self.free, self.filler, self.time = free, filler, 0
        if not free:
            many = gym.spaces.Box(-np.inf, np.inf, (5, FEATURES))
            birds = gym.spaces.Dict({"entities": many, "present": gym.spaces.MultiBinary(5)})
            self.metadata = {"render_modes": []}
        self.observation_space = gym.spaces.Dict({"birds": birds, "wind": gym.spaces.Box(-1, 1, (1,))})

    def _see(self) -> Any:
        rows = self.np_random.normal(3.0, 2.0, (int(self.np_random.integers(6)), FEATURES)).astype(np.float32)
        self.side = int((rows[:, 0] > 3).sum() * 2 > len(rows))
        birds: Any = tuple(rows)
        if not self.free:
            padded = np.full((5, FEATURES), self.filler, np.float32)
            padded[: len(rows)] = rows
            birds = {"entities": padded, "present": (np.arange(5) < len(rows)).astype(np.int8)}
        return {"birds": birds, "wind": np.zeros(1, np.float32)}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.time = 0
        return self._see(), {}

    def step(self, action: int) -> Any:
        reward = float(action == self.side)
        self.time += 1
        return self._see(), reward, self.time >= 6, False, {"is_success": True}


def padded(filler: float) -> Any:
    return lambda: Flock(free=False, filler=filler)


SETTINGS = {**TINY, "steps": 300, "validation.every": 200, "exploration.bonus": 0.1}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    out = tmp_path_factory.mktemp("entities") / "run"
    return seqel.train(Flock, out=out, seed=0, settings={**SETTINGS, "vectorization": "sync"}, progress=False), out


def weights(agent: Any) -> dict[str, Any]:
    return {name: value.numpy() for name, value in agent.network.state_dict().items()}


@pytest.mark.parametrize("free", [True, False])
def test_side_by_side_in_one_process_or_in_many_gives_the_same_sets(free: bool) -> None:
    """Memory that processes share cannot hold a Sequence: its observations are sent instead."""
    found = []
    for mode in ("sync", "async"):
        make = lambda: Flock(free=free)  # noqa: E731
        spec = ObservationSpec.from_space(make().observation_space, {"birds": 5} if free else None)
        stream = VectorStream(make_vector(make, 2, mode), spec, ActionSpec((2,), (0,)))
        stream.reset([1, 2])
        rows = [stream.current["birds"].copy()]
        for t in range(15):
            outcome = stream.step(np.array([t % 2, 1]))
            rows.append(outcome.reached["birds"].copy())
            if outcome.ended.any():
                stream.reset([7, 8], outcome.ended)
                rows.append(stream.current["birds"].copy())
        stream.close()
        found.append(np.stack(rows))
    np.testing.assert_array_equal(found[0], found[1])
    assert found[0].shape[1:] == (2, 5, FEATURES + 1) and 0 < found[0][..., -1].mean() < 1


def test_both_conventions_and_whatever_absent_rows_hold_learn_the_same_weights(
    trained: tuple[Any, Path], tmp_path: Path
) -> None:
    for number, filler in enumerate((0.0, np.nan)):
        settings = {**SETTINGS, "vectorization": "sync"}
        agent = seqel.train(padded(filler), out=tmp_path / str(number), seed=0, settings=settings, progress=False)
        found = weights(agent)
        for name, value in weights(trained[0]).items():
            np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_features_are_normalised_by_the_rows_that_are_present(trained: tuple[Any, Path]) -> None:
    encoder = trained[0].network.tokens.vectors()["birds"]
    np.testing.assert_allclose(encoder.mean.numpy(), 3.0, atol=0.5)
    np.testing.assert_allclose(encoder.scale.numpy(), 2.0, atol=0.4)


def test_the_environments_own_number_of_entities_is_used_and_the_setting_wins(trained: tuple[Any, Path]) -> None:
    assert trained[0].observation_spec.storage["birds"] == ((5, FEATURES + 1), np.dtype(np.float32))
    with pytest.raises(SpaceError, match=r"at most 2 entities.*--set observation\.birds"):
        seqel.train(Flock, settings={**SETTINGS, "observation": {"birds": 2}}, progress=False)


def test_a_saved_run_is_loaded_and_evaluated(trained: tuple[Any, Path]) -> None:
    agent, out = trained
    loaded = seqel.Agent.load(out)
    for name, value in weights(agent).items():
        np.testing.assert_array_equal(weights(loaded)[name], value)
    assert seqel.evaluate(loaded, Flock, 4, seed=5).mean == seqel.evaluate(agent, Flock, 4, seed=5).mean
    assert json.loads((out / "summary.json").read_text())["steps"] == 300


def test_an_exported_agent_decides_as_the_agent_does(trained: tuple[Any, Path], tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    agent = trained[0]
    exported = ExportedAgent(export(agent, tmp_path / "agent.onnx"))
    rng = np.random.default_rng(0)
    states: list[Any] = [None, None]
    for _ in range(8):
        sets = tuple(rng.normal(3, 2, (n, FEATURES)).astype(np.float32) for n in rng.permutation(3))
        seen = {"birds": sets, "wind": np.zeros((3, 1), np.float32)}
        decided, states[0] = agent.act(seen, states[0])
        again, states[1] = exported.act(seen, states[1])
        np.testing.assert_allclose(again.q, decided.q, rtol=1e-4, atol=1e-5)
        assert (again.action == decided.action).all()
    one = {"birds": (), "wind": np.zeros(1, np.float32)}
    assert agent.predict(one) is not None


def test_check_says_how_sets_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    from seqel.cli.main import main

    assert main(["check", "seqel/ShuffledObjects-v0", "--steps", "50"]) == 0
    assert "entities 8x8 float32: a set of entities, in any order" in " ".join(capsys.readouterr().out.split())


def test_an_agent_learns_from_a_table_with_sets_and_serves_its_rows(tmp_path: Path) -> None:
    pytest.importorskip("polars")
    from seqel.datasets import Schema, load

    rng = np.random.default_rng(0)
    rows = [
        {
            "who": number // 5,
            "birds": rng.normal(size=(int(rng.integers(4)), 2)).tolist(),
            "did": int(rng.integers(2)),
            "r": 1.0,
        }
        for number in range(200)
    ]
    rows[0]["birds"] = [[0.5, 0.5]]
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    schema = Schema("who", "did", "r", observation={"birds": "entities"}, most_entities=4)
    data = load(path, schema)
    settings = {
        "network.width": 16, "network.heads": 2, "network.layers": 1, "threads": 1, "device": "cpu",
        "replay.batch_tokens": 64, "offline.updates": 20, "offline.every": 10, "learner.compile": "off",
    }  # fmt: skip
    agent = seqel.train(data=data, preset="offline-cql", settings=settings, progress=False)
    encoder = agent.network.tokens.vectors()["entities/birds"]
    assert encoder.mean.shape == (2,) and float(encoder.scale.min()) > 0.5, "of the rows that are present"
    assert data.encoding is not None
    seen = data.encoding.rows([{"birds": []}, {"birds": [[1.0, 2.0], [0.0, 1.0]]}])
    decision, _ = agent.act(seen)
    turned, _ = agent.act(data.encoding.rows([{"birds": None}, {"birds": [[0.0, 1.0], [1.0, 2.0]]}]))
    np.testing.assert_allclose(decision.q, turned.q, atol=1e-6)
