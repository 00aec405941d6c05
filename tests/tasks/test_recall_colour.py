"""Recall of a colour: what the pictures show and when, a player that remembers and one that does not."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from seqel.errors import ConfigError, EnvironmentFault, SpaceError
from seqel.tasks.recall_colour import DARK, GREY, NOISE, RecallColour, levels, name_colour, optimal_action
from seqel.tasks.registry import register

GREY_PIXEL = np.full(3, GREY)


def middle(picture: Any) -> Any:
    return picture[3:9, 3:9].reshape(-1, 3).mean(axis=0)


def test_ids_set_the_number_of_colours() -> None:
    register()
    for name, colours in (("RecallColour", 3), ("RecallColour8", 8), ("RecallColour30", 30)):
        env = gymnasium.make(f"seqel/{name}-v0")
        assert isinstance(env.unwrapped, RecallColour) and env.unwrapped.colours == colours


def test_a_picture_shows_the_colour_twice_then_noise_then_the_question() -> None:
    env = RecallColour(colours=3, delay=5)
    colour = (levels(3) + np.uint8(GREY)).astype(int)[0]
    assert colour.tolist() == [223, 32, 32], "the first colour is red"
    seed = next(seed for seed in range(50) if name_colour(env.reset(seed=seed)[0], 3) == 0)
    pictures = [env.reset(seed=seed)[0]]
    for step in range(7):
        picture, reward, terminated, truncated, info = env.step(0)
        pictures.append(picture)
        assert (terminated, truncated) == (step == 6, False)
        assert (reward, info) == ((1.0, {"is_success": True}) if terminated else (0.0, {}))
    white = np.full(3, 223)
    expected = [colour, colour, *[GREY_PIXEL] * 4, white, GREY_PIXEL]
    for picture, patch in zip(pictures, expected, strict=True):
        assert picture.shape == (12, 12, 3) and picture.dtype == np.uint8
        np.testing.assert_allclose(middle(picture), patch, atol=4 * 18.8 / 6)  # standard error of a mean of 36 pixels
        np.testing.assert_array_less(np.abs(picture[3:9, 3:9].astype(int) - patch), NOISE + 1)
        around = picture.astype(int)
        around[3:9, 3:9] = GREY
        np.testing.assert_array_less(np.abs(around - GREY), NOISE + 1)


def test_the_noise_is_new_in_every_pixel_and_as_wide_as_it_says() -> None:
    env = RecallColour(delay=200)
    env.reset(seed=0)
    env.step(0)
    pictures = np.stack([env.step(0)[0] for _ in range(199)]).astype(int) - GREY
    assert set(np.unique(pictures)) == set(range(-NOISE, NOISE + 1))
    assert pictures.std() == pytest.approx(18.76, abs=0.1)
    assert abs(np.corrcoef(pictures[:-1].ravel(), pictures[1:].ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("colours", [2, 3, 8, 30])
def test_the_best_return_is_1_and_without_memory_it_is_chance(colours: int) -> None:
    env = RecallColour(colours, delay=3)
    best: list[Any] = []
    current: list[Any] = []
    for seed in range(1000):
        seen, over = [env.reset(seed=seed)[0]], False
        while not over:
            informed = seed % 2 == 0
            action = optimal_action(seen, colours) if informed else name_colour(seen[-1], colours)
            picture, reward, over, _, _ = env.step(action)
            seen.append(picture)
        (best if informed else current).append(reward)
    assert set(best) == {1.0}
    chance = 1.0 / colours
    assert abs(np.mean(current) - chance) < 4 * np.sqrt(chance * (1 - chance) / 500)


def test_colours_are_as_far_from_each_other_as_the_docstring_says() -> None:
    colours = (levels(30) + np.uint8(GREY)).astype(float)
    distances = np.linalg.norm(colours[:, None] - colours, axis=-1)
    assert distances[distances > 0].min() == 38.0
    assert colours.min() == DARK and (levels(30) == levels(30)).all()


def test_same_seed_same_pictures() -> None:
    def pictures(seed: int) -> list[Any]:
        env = RecallColour()
        return [env.reset(seed=seed)[0], *(env.step(0)[0] for _ in range(5)), env.reset()[0]]

    np.testing.assert_array_equal(pictures(3), pictures(3))
    assert (np.stack(pictures(3)) != np.stack(pictures(4))).any()


def test_misuse_is_reported() -> None:
    for colours in (1, 31, 2.0, True):
        with pytest.raises(ConfigError, match="colours: expected an integer from 2 to 30"):
            RecallColour(colours)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="delay: expected an integer of at least 1, got 0"):
        RecallColour(delay=0)
    env = RecallColour(delay=1)
    with pytest.raises(EnvironmentFault, match="reset"):
        env.step(0)
    env.reset()
    with pytest.raises(SpaceError, match=r"expected a colour in Discrete\(3\), got 3"):
        env.step(3)
    for _ in range(3):
        env.step(np.int64(0))
    with pytest.raises(EnvironmentFault, match="reset"):
        env.step(0)
    with pytest.raises(ValueError, match="got none"):
        optimal_action([], 3)
