"""Sketches of observations: similar ones share a number, different ones rarely do."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from seqel.agents.sketch import CODES, ObservationSketch
from seqel.spaces import ObservationSpec


def sketch(space: gym.Space[object]) -> ObservationSketch:
    return ObservationSketch(ObservationSpec.from_space(space), lambda path, x: np.asarray(x, np.float32))


def test_numbers_that_are_almost_equal_share_a_code() -> None:
    one = sketch(gym.spaces.Box(-np.inf, np.inf, (8,), np.float32))
    rng = np.random.default_rng(0)
    near = rng.standard_normal((1, 8)).astype(np.float32) * 5
    codes = one.codes({"observation": np.concatenate([near, near + 1e-4, -near])})
    assert codes[0] == codes[1] != codes[2]


def test_codes_rarely_collide() -> None:
    codes = sketch(gym.spaces.Discrete(1_000)).codes({"observation": np.arange(1_000)[:, None]})
    assert len(np.unique(codes)) >= 985


def test_images_of_either_layout_are_distinguished_by_their_content() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (1, 24, 30, 3), dtype=np.uint8)
    for space, x in (
        (gym.spaces.Box(0, 255, (24, 30, 3), np.uint8), pictures),
        (gym.spaces.Box(0, 255, (3, 24, 30), np.uint8), pictures.transpose(0, 3, 1, 2)),
        (gym.spaces.Box(0, 255, (24, 30), np.uint8), pictures[..., 0]),
    ):
        other = x.copy()
        other[:] = 255 - other // 2
        codes = sketch(space).codes({"observation": np.concatenate([x, x, other])})
        assert codes[0] == codes[1] != codes[2]


EVERY_KIND = gym.spaces.Dict(
    {
        "image": gym.spaces.Box(0, 255, (30, 44, 3), np.uint8),
        "first": gym.spaces.Box(0, 255, (4, 84, 84), np.uint8),
        "grey": gym.spaces.Box(0, 255, (24, 24), np.uint8),
        "grid": gym.spaces.Box(0, 9, (5, 5, 3), np.uint8),
        "words": gym.spaces.Text(9),
        "few": gym.spaces.Box(-1, 1, (2,)),
        "many": gym.spaces.Box(-1, 1, (9,)),
        "pair": gym.spaces.Tuple((gym.spaces.Discrete(3), gym.spaces.MultiBinary(4))),
    }
)


@pytest.mark.parametrize("changed", ["image", "first", "grey", "grid", "words", "few", "many", "pair/0", "pair/1"])
def test_every_kind_of_leaf_distinguishes_observations(changed: str) -> None:
    spec = ObservationSpec.from_space(EVERY_KIND)
    one = sketch(EVERY_KIND)
    EVERY_KIND.seed(1)
    a, b = (spec.flatten(EVERY_KIND.sample(), None) for _ in range(2))
    while np.array_equal(a[changed], b[changed]):
        b = spec.flatten(EVERY_KIND.sample(), None)
    if spec.storage[changed][0] in ((30, 44, 3), (4, 84, 84), (24, 24)):  # noise looks all the same in a sketch
        b[changed] = b[changed] // 8
    same, other = one.codes({path: np.stack([leaf, b[path] if path == changed else leaf]) for path, leaf in a.items()})
    again = one.codes({path: leaf[None] for path, leaf in a.items()})
    assert same == again[0] != other
    assert 0 <= min(same, other) <= max(same, other) < CODES
