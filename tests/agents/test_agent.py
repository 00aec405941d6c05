"""The acting object: rows, masks, actions of others, saving; and that loading runs no code."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from seqel.agents.agent import Agent
from seqel.errors import CheckpointError, ConfigError, SeqelError, SpaceError
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, FlatObservation, ObservationSpec
from support import network

RNG = np.random.default_rng(0)


def see(rows: int) -> np.ndarray:
    return RNG.standard_normal((rows, 3)).astype(np.float32)


def test_partial_batches_decide_like_the_whole_batch() -> None:
    agent = Agent(network())
    seen = [see(4) for _ in range(15)]
    whole, parts = agent.initial_state(4), agent.initial_state(4)
    for x in seen:
        together, whole = agent.act(x, whole)
        for rows in ([3, 1], [0], [2]):
            some, parts = agent.act(x[rows], parts, rows=rows)
            np.testing.assert_allclose(some.q, together.q[rows], atol=1e-5)


def test_a_mask_is_obeyed_and_an_empty_one_refused() -> None:
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


def test_previous_action_replaces_the_agents_own_action() -> None:
    agent = Agent(network(std=0.6))
    x, y = see(1), see(1)
    decision, _ = agent.act(x)
    other = (int(decision.action[0]) + 1) % 3
    values = {}
    for name, previous in (("own", None), ("own, passed", decision.action), ("other", np.array([other]))):
        _, state = agent.act(x)
        values[name] = agent.act(y, state, previous_action=previous)[0].q
    np.testing.assert_array_equal(values["own"], values["own, passed"])
    assert np.abs(values["own"] - values["other"]).max() > 1e-4


def test_wrong_observations_and_rows_are_refused() -> None:
    agent = Agent(network())
    with pytest.raises(SpaceError, match=r"expected \[2, 3\]"):
        agent.act(np.zeros((2, 4), np.float32))
    _, state = agent.act(see(2))
    with pytest.raises(SpaceError, match="at most once"):
        agent.act(see(2), state, rows=[1, 1])


def test_predict_works_in_evaluate_policy_of_stable_baselines() -> None:
    """Its loop carries the state, flags episode_start, and passes observations of several environments or of one."""
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
def test_a_saved_agent_is_restored_bit_for_bit(trunk: str, tmp_path: Path) -> None:
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
            agent.network.get_parameter("trunk.norm.weight")[0] = float("nan")
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


def test_a_pickle_in_place_of_weights_runs_no_code(tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "ran",))  # type: ignore[return-value]

    folder = Agent(network()).save(tmp_path / "agent")
    (folder / "weights.safetensors").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(SeqelError):
        Agent.load(folder)
    assert not (tmp_path / "ran").exists()


def agent_for(space: gym.Space[Any], actions: gym.spaces.Discrete | None = None) -> Agent:
    torch.manual_seed(0)
    spec = ObservationSpec.from_space(space)
    config = NetworkConfig(width=16, heads=2, context=4)
    net = QNetwork(config, spec, ActionSpec.from_space(actions or gym.spaces.Discrete(3)))
    with torch.no_grad():
        net.get_parameter("head.advantage.weight").normal_()
    return Agent(net)


@pytest.mark.parametrize(
    ("space", "one", "batch_of_one"),
    [
        (gym.spaces.Discrete(4), 3, np.array([3])),
        (gym.spaces.Box(-1, 1, (2,)), np.zeros(2, np.float32), np.zeros((1, 2), np.float32)),
        (gym.spaces.Box(-1, 1, (2, 2)), np.zeros((2, 2)), np.zeros((1, 2, 2))),
        (gym.spaces.MultiDiscrete([2, 3]), np.array([1, 2]), np.array([[1, 2]])),
        (gym.spaces.Text(5), "ab", ("ab",)),
        (gym.spaces.Dict({"x": gym.spaces.Discrete(4)}), {"x": 3}, {"x": np.array([3])}),
    ],
    ids=str,
)
def test_predict_distinguishes_one_observation_from_a_batch_of_one(
    space: gym.Space[Any], one: Any, batch_of_one: Any
) -> None:
    """A vector environment of one (as evaluate_policy makes it) indexes the actions it gets."""
    agent = agent_for(space)
    single, _ = agent.predict(one, episode_start=np.array([True]))
    several, state = agent.predict(batch_of_one, episode_start=np.array([True]))
    assert np.ndim(single) == 0 and several.shape == (1,) and several[0] == single
    again, _ = agent.predict(batch_of_one, state, np.array([True]))
    assert again[0] == single, "the start of an episode resets memory"


def test_predict_works_with_a_single_environment() -> None:
    """The plain loop of a Stable-Baselines3 user: env.reset, predict with the state, env.step."""
    env = gym.make("CartPole-v1")
    agent = agent_for(env.observation_space, gym.spaces.Discrete(2))
    for seed in range(2):
        observation, _ = env.reset(seed=seed)
        state, start, over, steps = None, True, False, 0
        while not over and steps < 30:
            action, state = agent.predict(observation, state, episode_start=np.array([start]), deterministic=True)
            observation, _, terminated, truncated, _ = env.step(action)
            over, start, steps = terminated or truncated, False, steps + 1
        assert steps > 1


def test_actions_and_previous_actions_count_from_the_spaces_start() -> None:
    agent = agent_for(gym.spaces.Discrete(4), gym.spaces.Discrete(3, start=10))
    decision, state = agent.act(np.array([0, 1, 2, 3]))
    assert set(decision.action.tolist()) <= {10, 11, 12}
    np.testing.assert_array_equal(decision.action - 10, decision.q.argmax(axis=1))
    given, _ = agent.act(np.zeros(4, int), state, previous_action=np.full(4, 12))
    assert given.q.shape == (4, 3)
    with pytest.raises(SpaceError, match="previous_action: expected actions of the action space"):
        agent.act(np.zeros(4, int), state, previous_action=np.full(4, 2))


@pytest.mark.parametrize("rows", [[-1, 0], [0, 2], [True, False], [0.5, 1.0], [[0, 1]]], ids=str)
def test_invalid_row_numbers_are_refused(rows: Any) -> None:
    agent = Agent(network())
    _, state = agent.act(see(2))
    with pytest.raises(SpaceError, match="rows: expected"):
        agent.act(see(2), state, rows=rows)
    with pytest.raises(SpaceError, match="rows: expected a state"):
        agent.act(see(2), rows=rows)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reward", np.zeros((2, 1))),
        ("reward", np.zeros(3)),
        ("first", np.zeros((2, 2), bool)),
        ("previous_action", np.zeros(3, int)),
        ("previous_action", np.array([0, 3])),
        ("previous_action", np.array([-1, 0])),
    ],
)
def test_invalid_arguments_are_named_and_leave_the_memory_unchanged(name: str, value: Any) -> None:
    agent = Agent(network())
    _, state = agent.act(see(2))
    before = copy.deepcopy(state)
    with pytest.raises(SpaceError, match=f"{name}: expected"):
        agent.act(see(2), state, **{name: value})
    np.testing.assert_array_equal(state.last_action, before.last_action)
    np.testing.assert_array_equal(state.fresh, before.fresh)
    assert all(torch.equal(state.memory[key], before.memory[key]) for key in before.memory)


def test_a_flat_observation_of_another_number_of_rows_is_refused() -> None:
    agent = Agent(network())
    _, state = agent.act(see(2))
    with pytest.raises(SpaceError, match="'observation': expected 2 rows, got 3"):
        agent.act(FlatObservation(observation=see(3)), state)


@pytest.mark.parametrize("trunk", ["transformer", "gru"])
def test_first_resets_its_row_and_no_other(trunk: str) -> None:
    agent = Agent(network(trunk=trunk))
    seen = [see(2) for _ in range(6)]
    state = memory = None
    for x in seen:
        _, state = agent.act(x, state)
        _, memory = agent.act(x, memory)
    x = see(2)
    kept, _ = agent.act(x, memory)
    forgot, _ = agent.act(x, state, first=np.array([True, False]))
    fresh, _ = agent.act(x)
    np.testing.assert_allclose(forgot.q[0], fresh.q[0], atol=1e-6)
    np.testing.assert_allclose(forgot.q[1], kept.q[1], atol=1e-6)
    assert np.abs(forgot.q[0] - kept.q[0]).max() > 1e-4


def test_acting_has_no_dropout_and_no_gradient() -> None:
    agent = Agent(network(dropout=0.5).train())
    x = see(3)
    one, other = agent.act(x)[0], agent.act(x)[0]
    np.testing.assert_array_equal(one.q, other.q)


@pytest.mark.parametrize("trunk", ["transformer", "gru"])
def test_a_copied_memory_is_independent(trunk: str) -> None:
    """States are values: a service may copy the memory of one session and continue it in two ways."""
    agent = Agent(network(trunk=trunk))
    _, state = agent.act(see(2))
    twin = copy.deepcopy(state)
    x, y = see(2), see(2)
    one, state = agent.act(x, state)
    agent.act(y, state)
    other, _ = agent.act(x, twin)
    np.testing.assert_array_equal(one.q, other.q)
