"""Warnings of the probe about environments that can be trained on, but depart from what they declare."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from seqel.environments.probe import probe
from seqel.environments.resolve import resolve
from seqel.errors import ConfigError, SpaceError


def showing(space: spaces.Space[Any], value: Any, **more: Any) -> type[gym.Env[Any, Any]]:
    """An environment whose observation is `value`, or `value(rng, time)` if it is a function."""

    class Shows(gym.Env[Any, Any]):
        observation_space, action_space = space, spaces.Discrete(2)
        metadata = more.get("metadata", {})

        def see(self) -> Any:
            return value(self.np_random, self.time) if callable(value) else value

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            super().reset(seed=seed if more.get("seeded", True) else None)
            self.time = 0
            return self.see(), {}

        def step(self, action: Any) -> Any:
            self.time += 1
            return self.see(), 1.0, self.time == 5, False, {}

    return Shows


UNIT = spaces.Box(-1, 1, (2,), np.float32)


def random(rng: np.random.Generator, time: int) -> Any:
    return rng.uniform(-1, 1, 2).astype(np.float32)


def test_a_well_behaved_environment_gets_no_warning() -> None:
    assert probe(showing(UNIT, random)).warnings == []
    assert not any("twice" in text for text in probe(resolve("CartPole-v1")).warnings)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (showing(UNIT, random, seeded=False), r"gave different results \(the first observation differs\)"),
        (showing(UNIT, np.array([0.0, 3.0], np.float32)), r"a value was 3 at \[1\], but its space says -1 to 1"),
        (showing(UNIT, np.zeros(2)), "its values are float64, but its space says float32"),
        (showing(spaces.Text(3), "far too long"), "is not in its space"),
    ],
    ids=["seed", "bounds", "dtype", "text"],
)
def test_a_departure_from_the_declaration_is_reported_once(make: Any, says: str) -> None:
    import re

    assert len([text for text in probe(make).warnings if re.search(says, text)]) == 1


def test_an_environment_that_may_never_end_gives_a_warning() -> None:
    class Endless(showing(UNIT, random)):  # type: ignore[misc]
        def step(self, action: Any) -> Any:
            *rest, _, cut, info = super().step(action)
            return *rest, False, cut, info

    assert any("no time limit is declared" in text for text in probe(Endless, steps=50).warnings)
    assert not any("time limit" in text for text in probe(showing(UNIT, random)).warnings)


# -- pixels or codes -----------------------------------------------------------------------------------------------

PICTURE = spaces.Box(0, 255, (24, 24, 3), np.uint8)


def test_dark_images_and_bright_codes_give_a_warning() -> None:
    dark, bright = np.full((24, 24, 3), 9, np.uint8), np.full((24, 24, 3), 200, np.uint8)
    says = r"read as an image, but no value in play was above 9: .* --set observation.observation=codes"
    found = probe(showing(PICTURE, dark))
    import re

    assert any(re.search(says.replace(".* --", ".*--"), text) for text in found.warnings)
    assert not any("read as" in text for text in probe(showing(PICTURE, bright)).warnings)
    small = spaces.Box(0, 255, (9, 9, 3), np.uint8)
    assert any("observation=pixels" in text for text in probe(showing(small, bright[:9, :9])).warnings)
    assert not any("read as" in text for text in probe(showing(small, dark[:9, :9])).warnings)


def test_the_environment_and_the_setting_say_how_a_grid_is_read() -> None:
    dark = np.full((24, 24, 3), 9, np.uint8)
    named = spaces.Dict({"image": PICTURE, "place": UNIT})
    value = {"image": dark, "place": np.zeros(2, np.float32)}
    declared = showing(named, value, metadata={"seqel": {"observation": {"image": "codes"}}})
    assert probe(showing(named, value)).observation.leaves[0].kind == "image"
    found = probe(declared)
    assert found.observation.leaves[0].kind == "grid" and not any("read as" in text for text in found.warnings)
    assert probe(declared, read_as={"image": "pixels"}).observation.leaves[0].kind == "image", (
        "the setting overrides it"
    )
    with pytest.raises(ConfigError, match=r"expected paths among \['image', 'place'\], got 'picture'"):
        probe(declared, read_as={"picture": "codes"})
    with pytest.raises(ConfigError, match="only a Box of integers"):
        probe(declared, read_as={"place": "codes"})
    with pytest.raises(ConfigError, match="expected one of"):
        probe(declared, read_as={"image": "photo"})


# -- large numbers -------------------------------------------------------------------------------------------------

TIME = 1_700_000_000


def test_numbers_that_float32_cannot_distinguish_are_refused() -> None:
    for dtype in (np.float64, np.int64):
        free: spaces.Box[Any] = spaces.Box(-np.inf, np.inf, (1,), np.float64)
        if dtype is np.int64:
            free = spaces.Box(np.iinfo(np.int64).min, np.iinfo(np.int64).max, (1,), np.int64)
        with pytest.raises(SpaceError, match=r"element 0 went from 1700000000 to 1700000300 in play.* float32"):
            probe(showing(free, lambda rng, time, dtype=dtype: np.array([TIME + 60 * time], dtype)))


def test_numbers_near_the_bounds_of_their_space_are_shifted_and_stay_apart() -> None:
    for dtype in (np.float64, np.int64):
        near = spaces.Box(TIME, TIME + 86_400, (1,), dtype)
        found = probe(showing(near, lambda rng, time, dtype=dtype: np.array([TIME + 60 * time], dtype)))
        seen = [found.observation.flatten(np.array([TIME + n], dtype), None)["observation"][0] for n in range(5)]
        assert seen == [0, 1, 2, 3, 4]


def test_large_numbers_that_never_change_do_no_harm() -> None:
    probe(showing(spaces.Box(-np.inf, np.inf, (1,), np.float64), np.array([float(TIME)])))
