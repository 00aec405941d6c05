"""Logged sessions are read again by the agent: whole ones alone, with the states of the time, and drift shows in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqel.agents.agent import Agent
from seqel.agents.artifact import weights_checksum
from seqel.errors import DataError
from seqel.monitoring.familiarity import compare_states, whole_sessions
from seqel.monitoring.log import DecisionRecord, LoggedDecisions, read_log
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.robustness.reference import StateReference
from seqel.robustness.states import PlayedStates, captured_states
from seqel.spaces import ActionSpec, FlatObservation
from support_safety import SPEC


@pytest.fixture(scope="module")
def agent() -> Agent:
    torch.manual_seed(0)
    config = NetworkConfig(width=16, heads=2, layers=1, context=4)
    return Agent(QNetwork(config, SPEC, ActionSpec((3,), (1,))))


def played(agent: Agent, sessions: int, seed: int, shift: float = 0.0) -> tuple[list[DecisionRecord], PlayedStates]:
    """Let an agent act in sessions of different lengths, one after another. -> the log, and the states of the time.

    The log is in the order of the times, in which sessions take turns.
    """
    rng, lines = np.random.default_rng(seed), list[DecisionRecord]()
    scores, actions, episodes = [], [], []
    with captured_states(agent.network) as states:
        for session in range(sessions):
            state, reward, action = None, None, 0
            for step in range(int(rng.integers(3, 14))):
                seen = (rng.standard_normal(3) + shift).astype(np.float32)
                before: dict[str, Any] = {} if state is None else {"reward": np.array([reward], np.float32)}
                decision, state = agent.act(seen[None], state, **before)
                action = int(decision.action[0])
                time = 1.8e9 + 10 * step + session / 1_000
                lines.append(DecisionRecord(time, f"s{session}", step, "v1", seen.tolist(), action, reward, 0.0))
                reward = float(np.float32(rng.standard_normal()))
                scores.append(decision.q[0])
                actions.append(action - 1)
                episodes.append(session)
        found = PlayedStates(
            np.concatenate(states), np.stack(scores), np.array(actions), np.array(episodes), np.zeros(sessions)
        )
    return lines, found


def log_of(lines: list[DecisionRecord], agent: Agent, folder: Path) -> LoggedDecisions:
    path = folder / "log.jsonl"
    path.write_text("".join(one.to_json() + "\n" for one in sorted(lines, key=lambda one: one.time)))
    return read_log([path], agent, observations=True)


@pytest.fixture(scope="module")
def reference(agent: Agent) -> StateReference:
    _, states = played(agent, 200, seed=1)
    return StateReference.fit(states, weights_checksum(agent.network), 0.05)


def test_the_states_are_those_of_the_time(agent: Agent, reference: StateReference, tmp_path: Path) -> None:
    lines, states = played(agent, 150, seed=2)
    found = compare_states(agent, reference, log_of(lines, agent, tmp_path))
    assert (found.states, found.sessions, found.incomplete) == (len(lines), 150, 0)
    for name, share in found.shares.items():
        reported = reference.unfamiliar(states.states, name)
        assert share == pytest.approx(reported.mean(), abs=1e-12)
        lengths = np.bincount(states.episode)
        several = np.bincount(states.episode, reported) / lengths > 0.05
        assert found.affected[name] == pytest.approx(several.mean(), abs=1e-12)
    assert not found.large and found.expected == 0.05


def test_memory_follows_the_logged_actions_and_rewards(
    agent: Agent, reference: StateReference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What acted may have been a person: the agent reads what is logged, not what it would have done."""
    given: list[dict[str, Any]] = []
    genuine = agent.act

    def act(seen: Any, state: Any, **more: Any) -> Any:
        given.append(more)
        return genuine(seen, state, **more)

    monkeypatch.setattr(agent, "act", act)
    lines = [
        DecisionRecord(1.8e9 + step, "a", step, "v1", [0.0, 0.0, 0.0], 1 + step % 3, None if not step else 10.0 * step)
        for step in range(4)
    ]
    compare_states(agent, reference, log_of(lines, agent, tmp_path))
    assert "previous_action" not in given[0]
    assert [int(one["previous_action"][0]) for one in given[1:]] == [1, 2, 3]
    assert [float(one["reward"][0]) for one in given[1:]] == [10.0, 20.0, 30.0]


def test_other_input_is_unfamiliar(agent: Agent, reference: StateReference, tmp_path: Path) -> None:
    lines, _ = played(agent, 40, seed=3, shift=4.0)
    found = compare_states(agent, reference, log_of(lines, agent, tmp_path))
    assert found.large and max(found.shares.values()) > 0.5 and max(found.affected.values()) > 0.9
    few = compare_states(agent, reference, log_of([one for one in lines if one.session == "s1"], agent, tmp_path))
    assert not few.large, "one session"
    assert found.as_json()["large"] is True


def logged(*decisions: tuple[str, int, float]) -> LoggedDecisions:
    """A log of (session, step, observed number)."""
    count = len(decisions)
    observations = [FlatObservation({"observation": np.array([one[2]], np.float32)}) for one in decisions]
    return LoggedDecisions(
        np.zeros((count, 1)), np.zeros(count), np.arange(float(count)), [one[0] for one in decisions], ["v"] * count, 0, [],
        [one[1] for one in decisions], observations, [np.array([1])] * count,
    )  # fmt: skip


def test_only_whole_sessions_are_read() -> None:
    log = logged(
        ("a", 0, 0.0), ("b", 3, 0.0), ("a", 1, 0.0), ("c", 0, 0.0), ("b", 4, 0.0), ("a", 3, 0.0), ("a", 2, 0.0),
        ("c", 0, 0.0), ("c", 1, 0.0), ("d", 0, np.nan), ("d", 1, 0.0), ("e", 0, 0.0), ("e", 1, np.nan), ("e", 2, 0.0),
    )  # fmt: skip
    assert whole_sessions(log) == [[0, 2], [3], [7, 8], [11]]


def test_what_does_not_fit_is_refused(agent: Agent, reference: StateReference, tmp_path: Path) -> None:
    lines, _ = played(agent, 2, seed=4)
    log = log_of(lines, agent, tmp_path)
    other = StateReference(reference.mahalanobis, reference.knn, reference.thresholds, 0.05, "00000000", {})
    with pytest.raises(DataError, match="a reference of these weights"):
        compare_states(agent, other, log)
    with pytest.raises(DataError, match="from its step 0 on"):
        compare_states(agent, reference, log_of([one for one in lines if one.step], agent, tmp_path))
