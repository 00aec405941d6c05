from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest

from seqel.environments.probe import probe


class Talk(gym.Env[Any, Any]):
    """Four steps; the text has 64 bytes, or twice as many at every second step."""

    action_space = gym.spaces.Discrete(2)

    def __init__(self, longest: int) -> None:
        self.longest, self.time = longest, 0
        self.observation_space = gym.spaces.Dict({"say": gym.spaces.Text(128)})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.time = 0
        return {"say": "a" * 64}, {}

    def step(self, action: int) -> Any:
        self.time += 1
        return {"say": "b" * (self.longest if self.time % 2 else 64)}, 1.0, self.time == 3, False, {}


@pytest.mark.parametrize(("longest", "said"), [(64, False), (128, True)])
def test_the_share_of_long_texts_that_is_not_read_is_reported(longest: int, said: bool) -> None:
    found = [text for text in probe(lambda: Talk(longest)).warnings if "is not read" in text]
    assert bool(found) == said
    if said:
        assert (
            "observation 'say': 50% of the texts are longer than the 64 bytes that are read, and 33% of all" in found[0]
        )
