"""The stored fields of a step; an episode that does not fit is rejected, the error names the step, and nothing changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from seqel.errors import ConfigError, DataError
from seqel.replay.buffer import Replay
from seqel.replay.layout import Layout
from seqel.types import Episode

ACTIONS, DIMS = 5, 2
LEAVES: dict[str, tuple[tuple[int, ...], Any]] = {
    "pixels": ((2, 3), np.dtype(np.uint8)),
    "place": ((), np.dtype(np.float32)),
}


def episode(length: int, rng: np.random.Generator) -> Episode:
    return Episode(
        observation={
            "pixels": rng.integers(0, 256, (length + 1, 2, 3), dtype=np.uint8),
            "place": rng.normal(size=length + 1).astype(np.float32),
        },
        action=rng.integers(0, ACTIONS, (length, DIMS)),
        reward=rng.normal(size=length).astype(np.float32),
        action_mask=rng.random((length + 1, DIMS, ACTIONS)) < 0.7,
    )


def test_bad_episodes_are_refused_and_change_nothing() -> None:
    rng = np.random.default_rng(7)
    memory = Replay(LEAVES, 60, actions=ACTIONS, action_dims=DIMS, masked=True)
    for _ in range(3):
        memory.add(episode(18, rng))
    before, good = memory.state_dict(), episode(20, rng)
    place, pixels = good.observation["place"], good.observation["pixels"]
    hole = place.copy()
    hole[7] = np.nan
    action = good.action.copy()
    action[4, 1] = ACTIONS
    reward = good.reward.copy()
    reward[11] = np.inf

    def seen(**leaves: Any) -> dict[str, Any]:
        return {"observation": {**good.observation, **leaves}}

    wrong: list[tuple[dict[str, Any], str]] = [
        (seen(place=hole), "'place'.* at step 7"),
        (seen(place=np.where(np.isnan(hole), 1e300, hole.astype(np.float64))), "'place'.* at step 7"),
        (seen(place=place[:-1]), r"'place' of shape \(21,\), got \(20,\)"),
        (seen(pixels=pixels[:, :1]), "'pixels' of shape"),
        (seen(pixels=pixels.astype(np.float32)), "can be cast to uint8, got float32"),
        (seen(pixels=np.where(np.arange(21)[:, None, None] == 3, -1, pixels.astype(int))), "fit uint8.* at step 3"),
        (seen(more=place), "leaves"),
        ({"action": action}, r"action in 0 \.\.\. 4, got .* at step 4"),
        ({"action": -good.action - 1}, "at step 0"),
        ({"action": good.action.astype(float)}, "integers for action"),
        ({"action": good.action[:, :1]}, "action of shape"),
        ({"reward": reward}, "reward, got one that is not at step 11"),
        ({"reward": good.reward[:, None]}, "reward of shape"),
        ({"by_agent": np.ones(20, int)}, "by_agent"),
        ({"by_agent": np.ones(21, bool)}, "by_agent of shape"),
        ({"first_visit": np.ones(21, np.int32)}, "first_visit of shape"),
        ({"action_mask": None}, "masked=True"),
        ({"action_mask": np.ones((21, DIMS, 4), bool)}, "action_mask of shape"),
        ({"start_step": -1}, "start_step >= 0"),
        ({"start_step": 5}, "previous_action"),
        ({"start_step": 5, "previous_action": np.array([0, 9])}, "previous_action in 0"),
        ({"start_step": 5, "previous_action": np.array([0, 1]), "previous_reward": np.nan}, "finite previous_reward"),
    ]
    for fields, message in wrong:
        with pytest.raises(DataError, match=message):
            memory.add(replace(good, **fields))
    with pytest.raises(DataError, match="increase the capacity to at least 61"):
        memory.add(episode(60, rng))
    none = {name: leaf[:1] for name, leaf in good.observation.items()}
    with pytest.raises(DataError, match="at least one transition"):
        memory.add(replace(good, observation=none, reward=good.reward[:0], action=good.action[:0]))
    with pytest.raises(DataError, match="masked=False"):
        Replay(LEAVES, 60, actions=ACTIONS, action_dims=DIMS).add(good)
    after = memory.state_dict()
    assert after.keys() == before.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(np.array(after[name]), np.array(value), err_msg=name)


def test_casts_that_keep_every_value_are_accepted() -> None:
    rng = np.random.default_rng(8)
    ep = episode(12, rng)
    wide = replace(
        ep,
        observation={
            "pixels": ep.observation["pixels"].astype(np.int64),
            "place": ep.observation["place"].astype(np.float64),
        },
        reward=ep.reward.astype(np.float64),
        action=ep.action.astype(np.int8),
    )
    layout = Layout(LEAVES, ACTIONS, DIMS, masked=True)
    one, two = layout.columns_of(ep), layout.columns_of(wide)
    wanted = layout.columns()
    for name, column in one.items():
        assert column.dtype == two[name].dtype == wanted[name][1], name
        np.testing.assert_array_equal(column, two[name], err_msg=name)


def test_actions_take_the_smallest_dtype_and_a_layout_is_checked() -> None:
    for actions, dtype in ((1, np.uint8), (256, np.uint8), (257, np.uint16), (70_000, np.uint32)):
        assert Layout(LEAVES, actions).columns()["action"] == ((1,), np.dtype(dtype))
    assert "action_mask" not in Layout(LEAVES, 3).columns()
    wrong: list[tuple[dict[str, Any], int, int]] = [({}, 3, 1), (LEAVES, 0, 1), (LEAVES, 3, 0)]
    for leaves, actions, dims in wrong:
        with pytest.raises(ConfigError):
            Layout(leaves, actions, dims)
