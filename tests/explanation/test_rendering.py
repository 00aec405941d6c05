"""A rendered episode is the recorded one, with a frame or a text for each observation."""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from seqel.environments.resolve import resolve
from seqel.explanation.rendering import render_episode
from seqel.explanation.trace import record_episode
from seqel.spaces import ObservationSpec
from support_explanation import make_agent


class Says(gym.Env[Any, Any]):
    """Says the number of the step, and draws it as a grey level."""

    metadata: dict[str, Any] = {"render_modes": ["human", "rgb_array"]}  # noqa: RUF012 (Gymnasium's own shape)
    observation_space = gym.spaces.Dict({"said": gym.spaces.Text(20)})
    action_space = gym.spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None, broken: bool = False) -> None:
        self.render_mode, self.broken, self.time = render_mode, broken, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.time = 0
        return {"said": "step 0"}, {}

    def step(self, action: Any) -> Any:
        self.time += 1
        return {"said": f"step {self.time}"}, 1.0, self.time == 3, False, {}

    def render(self) -> Any:
        if self.broken:
            raise RuntimeError("no display")
        return np.full((4, 6, 3), self.time, np.uint8)


def says_agent() -> Any:
    return make_agent((2,), ObservationSpec.from_space(Says.observation_space))


def test_frames_and_texts_belong_to_the_observations() -> None:
    episode = render_episode(says_agent(), Says)
    assert len(episode.trace) == 3 and episode.texts == {"said": {n: f"step {n}" for n in range(4)}}
    assert [int(frame[0, 0, 0]) for frame in episode.frames if isinstance(frame, np.ndarray)] == [0, 1, 2, 3]
    assert episode.action_names is None


@pytest.mark.parametrize("make", [partial(Says, broken=True), lambda: Says(None)], ids=["cannot draw", "takes no mode"])
def test_an_environment_that_cannot_draw_is_played_without_frames(make: Any) -> None:
    episode = render_episode(says_agent(), make)
    assert episode.frames == [None] * 4 and episode.texts["said"][3] == "step 3"


def test_filming_changes_nothing_about_the_episode() -> None:
    make = resolve("seqel/TMaze-v0", length=4)
    env = make()
    agent = make_agent((4,), ObservationSpec.from_space(env.observation_space))
    episode, plain = render_episode(agent, make, seed=5), record_episode(agent, make, seed=5)
    np.testing.assert_array_equal(episode.trace.action, plain.action)
    np.testing.assert_array_equal(episode.trace.q, plain.q)
    assert episode.action_names == ("right", "up", "left", "down")
    assert len(episode.frames) == len(plain) + 1 and all(
        isinstance(frame, str) and "@" in frame for frame in episode.frames
    )
    assert len(render_episode(agent, make, seed=5, limit=2).trace) == 2
