"""The log of decisions: what is written is read, by agents of environments and of tables, and bad lines are left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from seqel.agents.agent import Agent
from seqel.datasets.encoding import Encoding
from seqel.datasets.schema import Schema
from seqel.errors import DataError
from seqel.monitoring import log as module
from seqel.monitoring.log import DecisionRecord, flat_observation, read_log
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, ObservationSpec
from support_monitoring import NAMES, SPACE


def agent_of(observation: ObservationSpec, action: ActionSpec, **info: Any) -> Agent:
    torch.manual_seed(0)
    config = NetworkConfig(width=16, heads=2, layers=1, context=4)
    return Agent(QNetwork(config, observation, action), info)


@pytest.fixture(scope="module")
def player() -> Agent:
    return agent_of(ObservationSpec.from_space(SPACE), ActionSpec((3,), (0,)))


def lines(path: Path, *records: DecisionRecord | str) -> Path:
    path.write_text("\n".join(one if isinstance(one, str) else one.to_json() for one in records) + "\n")
    return path


def record(**changes: Any) -> DecisionRecord:
    given: dict[str, Any] = {
        "time": 1.796e9, "session": "a", "step": 0, "agent": "v1", "action": np.int64(2), "reward": 0.5, "q_max": 1.25,
        "observation": {"colour": 3, "seen": np.array([1.0, 2.0, 3.0], np.float32)},
    }  # fmt: skip
    return DecisionRecord(**{**given, **changes})


def test_a_record_is_one_object_per_line() -> None:
    one = record(reward=None, q_max=float("-inf"), observation={"seen": [1.0, float("nan")]})
    assert json.loads(one.to_json()) == {
        "time": 1.796e9, "session": "a", "step": 0, "agent": "v1", "observation": {"seen": [1.0, None]}, "action": 2,
        "reward": None, "q_max": None,
    }  # fmt: skip
    assert "\n" not in record(observation={"text": "two\nlines"}).to_json()
    again = DecisionRecord.from_json(record().to_json())
    assert again == record(action=2, observation={"colour": 3, "seen": [1.0, 2.0, 3.0]})


def test_decisions_of_an_environment(player: Agent, tmp_path: Path) -> None:
    path = lines(
        tmp_path / "log.jsonl",
        record(),
        record(observation={"colour": 0, "seen": [1.0, None, 3.0]}, reward=None, session="b", agent="v2", time=1.797e9),
    )
    found = read_log([path], player)
    np.testing.assert_array_equal(found.rows, [[3, 1, 2, 3, 2, 1.25], [0, 1, np.nan, 3, 2, 1.25]])
    assert found.rows.shape[1] == len(NAMES)
    np.testing.assert_array_equal(found.rewards, [0.5, np.nan])
    assert found.sessions == ["a", "b"] and found.agents == ["v1", "v2"] and found.times.tolist() == [1.796e9, 1.797e9]
    assert found.unreadable == 0 and len(found) == 2


def test_a_single_leaf_is_given_alone_or_by_its_name() -> None:
    spec = ObservationSpec.from_space(gym.spaces.Box(-1, 1, (2,), np.float32))
    for value in ([0.5, None], {"observation": [0.5, None]}):
        np.testing.assert_array_equal(flat_observation(value, spec.leaves)["observation"], [0.5, np.nan])


def test_large_numbers_are_shifted_as_the_agent_sees_them() -> None:
    spec = ObservationSpec.from_space(gym.spaces.Box(1.7e9, 1.8e9, (2,), np.float64))
    whole = spec.flatten(np.array([1.75e9, 1.79e9]), None)["observation"]
    found = flat_observation([1.75e9, None], spec.leaves)["observation"]
    assert found[0] == whole[0] and np.isnan(found[1])


def test_decisions_of_a_table(tmp_path: Path) -> None:
    schema = Schema.from_json({
        "session": "who", "order": "step", "action": "do", "reward": "gain",
        "observation": {"x": "number", "kind": "category", "y": "number"},
    })  # fmt: skip
    encoding = Encoding(schema, ("go", "stay"), {"kind": ("red", "blue")}, {}, ("y",))
    agent = agent_of(encoding.observation, encoding.action, encoding=encoding.to_json())
    path = lines(
        tmp_path / "log.jsonl",
        record(observation={"x": 7, "kind": "blue", "y": 2.0}, action="stay"),
        record(observation={"kind": "green"}, action=0),
        record(observation={"x": 1, "kind": "red"}, action={"do": "stay"}),
        record(observation={"x": 1}, action="fly"),
    )
    found = read_log([path], agent)
    expected = [[7, 2, 0, 2, 1, 1.25], [np.nan, 0, 1, 0, 0, 1.25], [1, 0, 1, 1, 1, 1.25]]
    np.testing.assert_array_equal(found.rows, expected)
    assert found.unreadable == 1 and "line 4" in found.problems[0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("oops", "expected a JSON object, got 'oops'"),
        ("[1]", "expected an object with observation and action"),
        ('{"observation": 1}', "expected an object with observation and action"),
        ('{"observation": {"colour": 1, "seen": [1, 2]}, "action": 0}', "expected [3], got [2]"),
        ('{"observation": {"colour": 9, "seen": [1, 2, 3]}, "action": 0}', "outside its space"),
        ('{"observation": {"colour": 1}, "action": 0}', "lacks 'seen'"),
        ('{"observation": {"colour": 1, "seen": [1, 2, "x"]}, "action": 0}', "could not convert"),
        (
            '{"observation": {"colour": 1, "seen": [1, 2, 3]}, "action": 0, "reward": "much"}',
            "expected numbers for time",
        ),
        ("[" * 100_000, "expected a JSON object"),
    ],
)
def test_a_bad_line_is_left_out_and_reported(player: Agent, tmp_path: Path, line: str, message: str) -> None:
    found = read_log([lines(tmp_path / "log.jsonl", record(), line, "", record())], player)
    assert len(found) == 2 and found.unreadable == 1
    assert found.problems[0].startswith("log.jsonl, line 2: ") and message in found.problems[0]


def test_only_the_newest_decisions_of_several_files(player: Agent, tmp_path: Path) -> None:
    files = [lines(tmp_path / f"{n}.jsonl", *(record(step=s, reward=10.0 * n + s) for s in range(7))) for n in range(3)]
    assert read_log(files, player, last=9).rewards.tolist() == [15, 16, *range(20, 27)]


def test_files_of_several_replicas_are_put_in_the_order_of_their_times(player: Agent, tmp_path: Path) -> None:
    files = [
        lines(tmp_path / f"{n}.jsonl", *(record(time=1e9 + 2 * s + n, step=s, reward=2.0 * s + n) for s in range(6)))
        for n in range(2)
    ]
    assert read_log(files, player).rewards.tolist() == list(range(12))
    assert read_log(files, player, last=4).rewards.tolist() == [8, 9, 10, 11]
    found = read_log(files, player, since=1e9 + 7)
    assert found.rewards.tolist() == [7, 8, 9, 10, 11] and found.steps == [3, 4, 4, 5, 5]
    assert found.unreadable == 0 and found.observations == []
    with pytest.raises(DataError, match="got none; 12 are older than asked for"):
        read_log(files, player, since=1e9 + 12)
    kept = read_log(files, player, observations=True)
    assert [one.tolist() for one in kept.actions] == [[2]] * 12
    assert kept.observations[5]["seen"].tolist() == [1.0, 2.0, 3.0]


def test_what_cannot_be_read_at_all(player: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl cannot be read \(No such file"):
        read_log([tmp_path / "none.jsonl"], player)
    with pytest.raises(DataError, match=r"at least one logged decision, got none; log\.jsonl, line 1: expected a JSON"):
        read_log([lines(tmp_path / "log.jsonl", "oops")], player)
    monkeypatch.setattr(module, "LONGEST", 50)
    with pytest.raises(DataError, match="at most 50 characters"):
        read_log([lines(tmp_path / "log.jsonl", record())], player)
