"""Random shifts of images: whole pixels, edges repeated, one shift per window, other leaves unchanged."""

from __future__ import annotations

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from seqel.spaces import ObservationSpec
from seqel.training.augmentation import shift_images
from seqel.types import SequenceBatch
from support import batch

ROWS, STEPS, SIDE = 6, 4, 24


def pictures(shape: tuple[int, ...]) -> tuple[SequenceBatch, ObservationSpec]:
    space = gym.spaces.Dict({"eye": gym.spaces.Box(0, 255, shape, np.uint8), "speed": gym.spaces.Box(-1, 1, (2,))})
    torch.manual_seed(0)
    eye = torch.randint(0, 256, (ROWS, STEPS + 1, *shape), dtype=torch.uint8)
    windows = dataclasses.replace(
        batch(ROWS, STEPS), observation={"eye": eye, "speed": torch.randn(ROWS, STEPS + 1, 2)}
    )
    return windows, ObservationSpec.from_space(space)


def moved(picture: Tensor, down: int, right: int) -> Tensor:
    """Return the image (H, W, ...) shifted pixel by pixel, edges repeated."""
    height, width = picture.shape[:2]
    rows = [min(max(y + down, 0), height - 1) for y in range(height)]
    columns = [min(max(x + right, 0), width - 1) for x in range(width)]
    return picture[rows][:, columns]


@pytest.mark.parametrize(
    ("shape", "first"), [((SIDE, SIDE), False), ((SIDE, SIDE + 2, 3), False), ((3, SIDE, SIDE + 2), True)]
)
def test_all_images_of_a_window_get_the_same_shift_by_whole_pixels(shape: tuple[int, ...], first: bool) -> None:
    windows, spec = pictures(shape)
    shifted = shift_images(windows, spec, 2)
    before, after = windows.observation["eye"], shifted.observation["eye"]
    assert after.dtype == torch.uint8 and after.shape == before.shape
    found = set()
    for row in range(ROWS):
        matches = []
        for down in range(-2, 3):
            for right in range(-2, 3):
                frames = before[row].movedim(1, -1) if first else before[row]
                wanted = torch.stack([moved(frame, down, right) for frame in frames])
                if torch.equal(wanted.movedim(-1, 1) if first else wanted, after[row]):
                    matches.append((down, right))
        assert len(matches) == 1, "one shift for all images of a window, so that motion is unchanged"
        found.add(matches[0])
    assert len(found) > 1, "windows differ"


def test_only_images_change_and_the_given_batch_is_not_modified() -> None:
    windows, spec = pictures((SIDE, SIDE, 3))
    kept = windows.observation["eye"].clone()
    shifted = shift_images(windows, spec, 3)
    assert torch.equal(windows.observation["eye"], kept)
    assert shifted.observation["speed"] is windows.observation["speed"]
    assert shifted.reward is windows.reward


def test_shifts_are_uniform() -> None:
    space = gym.spaces.Box(0, 255, (SIDE, SIDE), np.uint8)
    eye = torch.zeros(4_000, 2, SIDE, SIDE, dtype=torch.uint8)
    eye[:, :, 12, 12] = 255
    windows = dataclasses.replace(batch(4_000, 1), observation={"observation": eye})
    torch.manual_seed(0)
    after = shift_images(windows, ObservationSpec.from_space(space), 1).observation["observation"][:, 0]
    where = after.flatten(1).int().argmax(dim=1)
    counts = torch.bincount(where, minlength=SIDE * SIDE).reshape(SIDE, SIDE)[11:14, 11:14]
    assert counts.sum() == 4_000
    assert (counts - 4_000 / 9).abs().max() < 5 * (4_000 / 9) ** 0.5
