"""Images: every layout is read the same, the position of patches matters, and an image is one token in either encoder."""

from __future__ import annotations

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
import torch

from seqel.agents.sketch import ObservationSketch
from seqel.networks.config import NetworkConfig
from seqel.networks.encoders.images import ConvolutionEncoder, PatchEncoder
from seqel.networks.qnetwork import QNetwork
from seqel.spaces import ActionSpec, Leaf, ObservationSpec
from seqel.training.augmentation import shift_images
from support import batch

BOTH = [ConvolutionEncoder, PatchEncoder]


def leaf(*shape: int) -> Leaf:
    (found,) = ObservationSpec.from_space(gym.spaces.Box(0, 255, shape, np.uint8)).leaves
    return found


@pytest.mark.parametrize("kind", BOTH)
def test_channels_first_and_last_are_the_same_image(kind: type[ConvolutionEncoder] | type[PatchEncoder]) -> None:
    torch.manual_seed(0)
    last, first = kind(leaf(24, 30, 3), 16), kind(leaf(3, 24, 30), 16)
    first.load_state_dict(last.state_dict())
    x = torch.randint(0, 256, (2, 5, 24, 30, 3), dtype=torch.uint8)
    seen = last(x)
    assert seen.shape == (2, 5, 16)
    torch.testing.assert_close(seen, first(x.permute(0, 1, 4, 2, 3)))
    torch.testing.assert_close(seen[1, 3], last(x[1, 3]))  # leading axes do not matter
    grey = kind(leaf(24, 30), 16)
    assert grey(x[..., 0]).shape == (2, 5, 16)


def test_patches_are_padded_with_black_and_their_position_matters() -> None:
    torch.manual_seed(0)
    encoder = PatchEncoder(leaf(21, 30), 16)
    assert encoder.side == 4 and len(encoder.place) == 6 * 8
    larger = PatchEncoder(leaf(24, 32), 16)
    larger.load_state_dict(encoder.state_dict())
    x = torch.randint(0, 256, (3, 21, 30), dtype=torch.uint8)
    torch.testing.assert_close(encoder(x), larger(torch.nn.functional.pad(x, (0, 2, 0, 3))))
    dot, moved = torch.zeros(2, 1, 21, 30, dtype=torch.uint8)
    dot[0, 1, 1] = moved[0, 9, 13] = 255  # the same place in its patch, another patch
    assert float((encoder(dot) - encoder(moved)).detach().abs().max()) > 1e-4
    assert PatchEncoder(leaf(64, 80, 3), 16).side == 8


def test_patches_attend_to_each_other() -> None:
    """Without attention, a mean over patches could not distinguish which of two dots are together."""
    torch.manual_seed(0)
    encoder = PatchEncoder(leaf(16, 16), 16).eval()
    with torch.no_grad():
        encoder.patches.weight.mul_(20.0)

    def picture(*dots: tuple[int, int]) -> torch.Tensor:
        x = torch.zeros(1, 16, 16, dtype=torch.uint8)
        for row, column in dots:
            x[0, row, column] = 255
        return encoder.encode(x[:, None] / 255.0)

    def pooled(*dots: tuple[int, int]) -> torch.Tensor:
        return picture(*dots) - picture()

    both, one, other = pooled((1, 1), (9, 9)), pooled((1, 1)), pooled((9, 9))
    assert float((both - one - other).detach().abs().max()) > 1e-3


@pytest.mark.parametrize("image", ["cnn", "patches"])
def test_an_image_is_one_token_and_every_weight_gets_a_gradient(image: str) -> None:
    spec = ObservationSpec.from_space(gym.spaces.Box(0, 255, (20, 20, 3), np.uint8))
    net = QNetwork(NetworkConfig(width=16, heads=2, context=4, image_encoder=image), spec, ActionSpec((3,), (0,)))  # type: ignore[arg-type]
    torch.nn.init.normal_(net.get_parameter("head.advantage.weight"))
    x = torch.randint(0, 256, (5, 20, 20, 3), dtype=torch.uint8)
    state = net.initial_state(5)
    first = torch.ones(5, dtype=torch.bool)
    with torch.no_grad():
        out, state = net.step({"observation": x}, torch.zeros(5, 1, dtype=torch.int64), torch.zeros(5), first, state)
    assert out.q.shape == (5, 1, 3) and state["keys"].shape[3] == 4
    encoder = net.tokens.encoders[0]
    encoder(x).square().sum().backward()
    matrices = [p for p in encoder.parameters() if p.ndim > 1]
    assert matrices and all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in matrices)


@pytest.mark.parametrize("kind", BOTH)
def test_bool_planes_are_read_as_small_images(kind: type[ConvolutionEncoder] | type[PatchEncoder]) -> None:
    """As in MinAtar; True is as bright as 255."""
    torch.manual_seed(0)
    (planes,) = ObservationSpec.from_space(gym.spaces.Box(0, 1, (10, 10, 4), np.bool_)).leaves
    encoder = kind(planes, 16)
    x = torch.rand(2, 3, 10, 10, 4) < 0.3
    seen = encoder(x)
    assert seen.shape == (2, 3, 16)
    encoder.brightest = 255.0
    torch.testing.assert_close(encoder(x.byte() * 255), seen)
    moved = x.roll(1, dims=2)
    assert not torch.allclose(encoder(moved), seen), "where something is matters"


def test_sketches_distinguish_planes() -> None:
    spec = ObservationSpec.from_space(gym.spaces.Box(0, 1, (10, 10, 4), np.bool_))
    sketch = ObservationSketch(spec, lambda path, x: x)
    x = np.zeros((3, 10, 10, 4), bool)
    x[1, 0, 0, 0] = x[2, 9, 9, 3] = True
    assert len(set(sketch.codes({"observation": x}).tolist())) == 3


def test_shifted_planes_stay_planes() -> None:
    spec = ObservationSpec.from_space(gym.spaces.Box(0, 1, (10, 10, 4), np.bool_))
    windows = batch(rows=2, steps=3)
    x = torch.zeros(2, 4, 10, 10, 4, dtype=torch.bool)
    x[:, :, 5, 5, 1] = True
    torch.manual_seed(0)
    moved = shift_images(dataclasses.replace(windows, observation={"observation": x}), spec, 2).observation[
        "observation"
    ]
    assert moved.dtype == torch.bool and (moved.sum(dim=(2, 3, 4)) == 1).all()
