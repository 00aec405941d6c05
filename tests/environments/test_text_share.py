"""How much of a text is read: what `seqel check` reports, and the setting that changes it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest

from seqel.environments.probe import probe
from seqel.errors import ConfigError
from seqel.spaces import ObservationSpec


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
    found = [text for text in probe(lambda: Talk(longest)).all_warnings if "is not read" in text]
    assert bool(found) == said
    if said:
        assert (
            "observation 'say': 50% of the texts are longer than the 64 bytes that are read, and 33% of all" in found[0]
        )
        assert "--set observation.say=128" in found[0]


def test_more_of_a_text_is_read_if_the_setting_says_so() -> None:
    found = probe(lambda: Talk(128), read_as={"say": 128})
    assert found.observation.leaves[0].shape == (128,) and not [
        text for text in found.all_warnings if "is not read" in text
    ]
    long, other = "a" * 100 + "b", "a" * 100 + "c"
    read = [found.observation.flatten({"say": text}, None)["say"] for text in (long, other)]
    assert (read[0] != read[1]).any(), "they differ after 64 bytes"
    space = Talk(128).observation_space
    assert found.observation.same_reading(space) == found.observation != ObservationSpec.from_space(space)


@pytest.mark.parametrize("length", [0, 4097, True, "64"])
def test_a_text_length_out_of_range_is_refused(length: Any) -> None:
    with pytest.raises(
        ConfigError, match="observation 'say': expected how many bytes of a text to read, from 1 to 4096"
    ):
        probe(lambda: Talk(64), read_as={"say": length})
