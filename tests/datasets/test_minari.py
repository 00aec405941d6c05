from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import minari
import numpy as np
import pytest
from minari.data_collector import EpisodeBuffer

from seqel.datasets.inspection.analysis import analyse
from seqel.datasets.minari import load_minari
from seqel.errors import DataError, MissingExtraError, SpaceError

SPACE = gym.spaces.Dict({"place": gym.spaces.Box(-1, 1, (2,), np.float32), "tool": gym.spaces.Discrete(3, start=1)})


def episode(number: int, steps: int, ends: str, **changes: Any) -> EpisodeBuffer:
    values: dict[str, Any] = {
        "id": number,
        "observations": {
            "place": np.full((steps + 1, 2), number / 10, np.float32)
            + np.arange(steps + 1, dtype=np.float32)[:, None] / 100,
            "tool": np.arange(steps + 1) % 3 + 1,
        },
        "actions": np.arange(steps) % 4 - 1,
        "rewards": np.arange(steps) / 2,
        "terminations": np.arange(steps) == (steps - 1 if ends == "terminated" else -1),
        "truncations": np.arange(steps) == (steps - 1 if ends == "truncated" else -1),
        "infos": {},
    }
    return EpisodeBuffer(**{**values, **changes})


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))

    def made(episodes: list[EpisodeBuffer], action: Any = None, name: str = "test/walk-v0") -> str:
        minari.create_dataset_from_buffers(
            name, episodes, action_space=action or gym.spaces.Discrete(4, start=-1), observation_space=SPACE,
            algorithm_name="none", author="none", author_email="none", code_permalink="none",
        )  # fmt: skip
        return name

    return made


@pytest.mark.filterwarnings("ignore")
def test_episodes_are_complete(make: Any) -> None:
    dataset = load_minari(make([episode(0, 4, "terminated"), episode(1, 2, "truncated"), episode(2, 3, "neither")]))
    assert dataset.sessions == ["0", "1", "2"]
    assert dataset.actions == ["-1", "0", "1", "2"]
    numbers = dataset.buffer.table.numbers
    assert numbers[:, :4].tolist() == [[0, 4, 0, 1], [5, 2, 0, 0], [8, 3, 0, 0]]
    columns = dataset.buffer.slots.columns
    np.testing.assert_allclose(columns["observation/place"][5:8, 0], [0.1, 0.11, 0.12], rtol=1e-6)
    np.testing.assert_array_equal(columns["observation/tool"][:5, 0], [0, 1, 2, 0, 1])
    np.testing.assert_array_equal(columns["action"][:5, 0], [0, 1, 2, 3, 0])
    np.testing.assert_array_equal(columns["reward"][:5], [0, 0.5, 1, 1.5, 0])
    train, held = dataset.split(0.3)
    assert len(train) and len(held) and len(train) + len(held) == 3
    report = analyse(dataset)
    assert (report["terminated"], report["truncated"], report["transitions"]) == (1, 2, 9)


@pytest.mark.filterwarnings("ignore")
def test_errors_name_what_is_wrong(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no/such-v0: expected a Minari dataset on this machine"):
        load_minari("no/such-v0")
    rewards = np.array([0.0, np.nan, 1.0])
    name = make([episode(0, 4, "terminated"), episode(1, 3, "terminated", rewards=rewards)], name="test/nan-v0")
    with pytest.raises(DataError, match="test/nan-v0, episode 1, step 1: expected a finite reward, got nan"):
        load_minari(name)
    box = gym.spaces.Box(-1, 1, (1,), np.float32)
    name = make([episode(0, 2, "terminated", actions=np.zeros((2, 1), np.float32))], box, "test/box-v0")
    with pytest.raises(SpaceError, match="Discrete"):
        load_minari(name)
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(MissingExtraError, match=r"seqel\[data\]"):
        load_minari(name)


@pytest.mark.filterwarnings("ignore")
def test_several_actions_at_once_are_dimensions(make: Any) -> None:
    space = gym.spaces.MultiDiscrete([3, 2], start=[0, 5])
    actions = np.array([[0, 5], [2, 6], [1, 5]])
    episodes = [episode(n, 3, "terminated", actions=actions) for n in range(2)]
    dataset = load_minari(make(episodes, space))
    assert dataset.action.sizes == (3, 2) and dataset.action.start == (0, 5)
    assert dataset.buffer.actions()[:3].tolist() == [[0, 0], [2, 1], [1, 0]]
    names = [one["name"] for one in analyse(dataset)["actions"]]
    assert names == ["dimension 0 = 0", "dimension 0 = 1", "dimension 0 = 2", "dimension 1 = 5", "dimension 1 = 6"]
