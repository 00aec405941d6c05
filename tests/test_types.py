"""The types shared by all packages: parts of a batch, its device, an episode's length."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from seqel.types import Decision, Episode, SequenceBatch


def make_batch(windows: int = 3, steps: int = 4) -> SequenceBatch:
    numbers = torch.arange(windows * (steps + 1), dtype=torch.float32).reshape(windows, steps + 1)
    learn = torch.zeros(windows, steps, dtype=torch.bool)
    learn[0, :1] = learn[1, :2] = learn[2, :3] = True
    return SequenceBatch(
        observation={"observation": numbers[..., None]},
        action=torch.zeros(windows, steps, 1, dtype=torch.int64),
        reward=numbers[:, :-1],
        discount=numbers[:, :-1],
        is_first=numbers < 0,
        valid=learn,
        loss_mask=learn,
        start_step=torch.arange(windows),
        previous_action=torch.zeros(windows, 1, dtype=torch.int64),
        previous_reward=torch.zeros(windows),
        weight=torch.arange(windows) * 0.5,
        num_learned=6,
    )


def test_rows_cut_every_field_and_count_again() -> None:
    part = make_batch().rows(slice(1, 3))
    assert part.observation["observation"].shape == (2, 5, 1)
    assert part.start_step.tolist() == [1, 2] and part.reward.tolist() == make_batch().reward[1:].tolist()
    assert part.weight is not None and part.weight.tolist() == [0.5, 1.0]
    assert part.action_mask is None and part.episode_index is None
    assert part.num_learned == 5


def test_moving_to_where_it_is_copies_nothing() -> None:
    batch = make_batch()
    assert batch.to(torch.device("cpu")) is batch
    moved = batch.to(torch.device("meta"))
    assert moved.reward.device.type == "meta" and moved.observation["observation"].device.type == "meta"
    assert moved.num_learned == 6 and moved.first_visit is None


def test_an_episode_is_as_long_as_its_rewards_and_nothing_can_be_changed() -> None:
    episode = Episode({"observation": np.zeros((4, 1))}, np.zeros((3, 1), np.int64), np.zeros(3, np.float32))
    assert len(episode) == 3
    with pytest.raises(AttributeError):
        episode.start_step = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Decision(np.zeros(1, np.int64), np.zeros((1, 2), np.float32)).q = None  # type: ignore[misc,assignment]


def test_the_types_load_without_torch() -> None:
    code = "import seqel.types, seqel.errors, sys; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    path = ":".join(p for p in sys.path if p)
    subprocess.run([sys.executable, "-S", "-c", code], check=True, env={"PYTHONPATH": path})


def test_the_learned_steps_become_windows_of_one_transition() -> None:
    batch = replace(make_batch(), weight=torch.arange(12.0).reshape(3, 4))
    part, window, step = batch.learned_steps()
    assert window.tolist() == [0, 1, 1, 2, 2, 2] and step.tolist() == [0, 0, 1, 0, 1, 2]
    assert part.reward.shape == (6, 1) and bool(part.loss_mask.all()) and part.num_learned == 6
    assert part.reward[:, 0].tolist() == batch.reward[window, step].tolist()
    seen, whole = part.observation["observation"], batch.observation["observation"]
    assert seen.shape == (6, 2, 1) and seen[4].tolist() == whole[2, 1:3].tolist()
    assert part.start_step.tolist() == [0, 1, 2, 2, 3, 4]
    assert part.weight is not None and part.weight[:, 0].tolist() == [0.0, 4.0, 5.0, 8.0, 9.0, 10.0]
    assert part.action_mask is None
