"""The acting object: rows, masks, what others did, saving; and that loading runs no code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from seqel.agents.agent import Agent
from seqel.errors import CheckpointError, ConfigError, SeqelError, SpaceError
from support import network

RNG = np.random.default_rng(0)


def see(rows: int) -> np.ndarray:
    return RNG.standard_normal((rows, 3)).astype(np.float32)


def test_partial_batches_decide_as_the_whole() -> None:
    agent = Agent(network())
    seen = [see(4) for _ in range(15)]
    whole, parts = agent.initial_state(4), agent.initial_state(4)
    for x in seen:
        together, whole = agent.act(x, whole)
        for rows in ([3, 1], [0], [2]):
            some, parts = agent.act(x[rows], parts, rows=rows)
            np.testing.assert_allclose(some.q, together.q[rows], atol=1e-5)


def test_a_mask_is_kept_and_an_empty_one_refused() -> None:
    agent = Agent(network())
    mask = np.array([[False, True, False], [True, False, True]])
    for _ in range(20):
        decision, _ = agent.act(see(2), mask=mask)
        assert mask[[0, 1], decision.action].all()
        assert np.isneginf(decision.q[~mask]).all()
    with pytest.raises(SpaceError, match=r"rows \[1\] allow no action"):
        agent.act(see(2), mask=np.array([[True, True, True], [False, False, False]]))
    with pytest.raises(SpaceError, match="mask: expected"):
        agent.act(see(2), mask=np.ones((2, 4), bool))


def test_what_somebody_else_did_replaces_what_the_agent_did() -> None:
    agent = Agent(network(std=0.6))
    x, y = see(1), see(1)
    decision, _ = agent.act(x)
    other = (int(decision.action[0]) + 1) % 3
    values = {}
    for name, previous in (("own", None), ("told own", decision.action), ("other", np.array([other]))):
        _, state = agent.act(x)
        values[name] = agent.act(y, state, previous_action=previous)[0].q
    np.testing.assert_array_equal(values["own"], values["told own"])
    assert np.abs(values["own"] - values["other"]).max() > 1e-4


def test_wrong_observations_and_rows_are_named() -> None:
    agent = Agent(network())
    with pytest.raises(SpaceError, match=r"expected \[2, 3\]"):
        agent.act(np.zeros((2, 4), np.float32))
    _, state = agent.act(see(2))
    with pytest.raises(SpaceError, match="at most once"):
        agent.act(see(2), state, rows=[1, 1])


def test_predict_is_what_evaluate_policy_of_stable_baselines_calls() -> None:
    """Its loop: state carried, episode_start flagged, observations of several environments or a single one."""
    agent = Agent(network())
    state, start = None, np.ones(3, bool)
    reference, memory = [], None
    seen = [see(3) for _ in range(8)]
    for x in seen:
        action, state = agent.predict(x, state=state, episode_start=start, deterministic=True)
        decision, memory = agent.act(x, memory, first=start)
        reference.append((action, decision.action))
        start = np.array([False, len(reference) == 4, False])
    assert all(np.array_equal(a, b) for a, b in reference)
    single, _ = agent.predict(seen[0][0])
    assert np.ndim(single) == 0 and single == reference[0][0][0]
    with pytest.raises(ConfigError, match="deterministic"):
        agent.predict(seen[0], deterministic=False)


@pytest.mark.parametrize("trunk", ["transformer", "gru"])
def test_a_saved_agent_comes_back_bit_for_bit(trunk: str, tmp_path: Path) -> None:
    agent = Agent(network(trunk=trunk), {"env": "somewhere"})
    agent.network.head.rescale(3.0)
    for encoder in agent.network.tokens.vectors().values():
        encoder.observe(torch.ones(3), 2 * torch.ones(3))
    loaded = Agent.load(agent.save(tmp_path / "agent"))
    assert loaded.info == {"env": "somewhere"} and repr(loaded) == repr(agent)
    one, other = None, None
    for _ in range(12):
        x = see(2)
        a, one = agent.act(x, one)
        b, other = loaded.act(x, other)
        np.testing.assert_array_equal(a.q, b.q)
    assert sorted(p.name for p in (tmp_path / "agent").iterdir()) == ["config.json", "weights.safetensors"]


@pytest.mark.parametrize(
    "harm",
    ["missing", "truncated", "garbled config", "other format", "no weights", "nan", "other shape"],
)
def test_a_damaged_agent_is_refused(harm: str, tmp_path: Path) -> None:
    folder = tmp_path / "agent"
    agent = Agent(network())
    if harm == "nan":
        with torch.no_grad():
            agent.network.trunk.norm.weight[0] = float("nan")
    if harm != "missing":
        agent.save(folder)
    weights, config = folder / "weights.safetensors", folder / "config.json"
    if harm == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif harm == "garbled config":
        config.write_text("{not json")
    elif harm == "other format":
        config.write_text(json.dumps(json.loads(config.read_text()) | {"format": 99}))
    elif harm == "no weights":
        weights.unlink()
    elif harm == "other shape":
        data = json.loads(config.read_text())
        data["network"]["layers"] = 3
        config.write_text(json.dumps(data))
    with pytest.raises(CheckpointError):
        Agent.load(folder)


def test_a_pickle_in_the_place_of_weights_runs_nothing(tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))  # type: ignore[return-value]

    folder = Agent(network()).save(tmp_path / "agent")
    (folder / "weights.safetensors").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(SeqelError):
        Agent.load(folder)
    assert not (tmp_path / "ran").exists()
