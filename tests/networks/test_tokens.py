"""Rule 11 and the token: each kind of leaf is encoded, and previous action, reward and flag are added as configured."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from seqel.errors import SpaceError
from seqel.networks.config import NetworkConfig
from seqel.networks.encoders.categories import CategoriesEncoder
from seqel.networks.encoders.deduplicated import WORTH_COMPARING, Deduplicated
from seqel.networks.encoders.images import ConvolutionEncoder
from seqel.networks.encoders.text import TextEncoder
from seqel.networks.encoders.vector import VectorEncoder
from seqel.networks.tokens import TokenEncoder
from seqel.spaces import ActionSpec, ObservationSpec

SPACES: dict[str, gym.Space[Any]] = {
    "vector": gym.spaces.Box(-1, 1, (4,), np.float32),
    "unbounded": gym.spaces.Box(-np.inf, np.inf, (4,), np.float32),
    "image, channels last": gym.spaces.Box(0, 255, (24, 30, 3), np.uint8),
    "image, channels first": gym.spaces.Box(0, 255, (4, 84, 84), np.uint8),
    "image, grey": gym.spaces.Box(0, 255, (64, 64), np.uint8),
    "grid": gym.spaces.Box(0, 255, (7, 7, 3), np.uint8),
    "discrete": gym.spaces.Discrete(6, start=-2),
    "multidiscrete": gym.spaces.MultiDiscrete([3, 4, 2]),
    "multibinary": gym.spaces.MultiBinary(5),
    "text": gym.spaces.Text(20),
    "nested": gym.spaces.Dict(
        {
            "a": gym.spaces.Tuple((gym.spaces.Discrete(3), gym.spaces.Text(8))),
            "b": gym.spaces.Box(0, 1, (2,), np.float32),
        }
    ),
}


def encoder(space: gym.Space[Any], **settings: Any) -> tuple[TokenEncoder, ObservationSpec]:
    torch.manual_seed(0)
    spec = ObservationSpec.from_space(space)
    config = NetworkConfig(**{"width": 16, "heads": 2, "context": 4, **settings})
    return TokenEncoder(spec, ActionSpec((3,), (0,)), config), spec


def seen(space: gym.Space[Any], spec: ObservationSpec, rows: int, seed: int = 0) -> dict[str, torch.Tensor]:
    space.seed(seed)
    flat = [spec.flatten(space.sample(), None) for _ in range(rows)]
    return {path: torch.from_numpy(np.stack([one[path] for one in flat])) for path in flat[0]}


def parts(rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.arange(rows)[:, None] % 3, torch.linspace(-2, 2, rows), torch.zeros(rows, dtype=torch.bool)


@pytest.mark.parametrize("name", SPACES)
def test_every_kind_becomes_a_token_that_distinguishes_observations(name: str) -> None:
    tokens, spec = encoder(SPACES[name])
    observation = seen(SPACES[name], spec, 12)
    token = tokens(observation, *parts(12))
    assert token.shape == (12, 16) and torch.isfinite(token).all()
    windows = {path: leaf.reshape(3, 4, *leaf.shape[1:]) for path, leaf in observation.items()}
    action, reward, first = parts(12)
    as_windows = tokens(windows, action.reshape(3, 4, 1), reward.reshape(3, 4), first.reshape(3, 4))
    torch.testing.assert_close(as_windows.reshape(12, 16), token)
    same = tokens(observation, action * 0, reward * 0, first)
    different = {tuple(np.round(row, 4)) for row in same.detach().numpy()}
    assert len(different) >= 3
    token.sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in tokens.encoders.parameters())


def test_rule_11_each_channel_of_a_grid_has_an_embedding_of_its_own() -> None:
    """Code 3 of a channel differs from code 3 of the next: the rows of the table that get a gradient show it."""
    tokens, _ = encoder(gym.spaces.Box(0, 9, (4, 4, 3), np.uint8))
    grid = torch.tensor([1, 3, 3], dtype=torch.uint8).expand(1, 4, 4, 3)
    tokens({"observation": grid}, *parts(1)).square().sum().backward()
    table = next(module for module in tokens.modules() if isinstance(module, torch.nn.Embedding))
    assert table.num_embeddings == 30 and table.weight.grad is not None
    assert table.weight.grad.abs().sum(1).nonzero()[:, 0].tolist() == [1, 13, 23]


def test_elements_of_the_same_codes_share_what_a_code_means() -> None:
    tokens, _ = encoder(gym.spaces.MultiDiscrete([4, 4, 4]))
    (part,) = [module for module in tokens.modules() if isinstance(module, CategoriesEncoder)]
    assert part.shared is not None
    x = torch.tensor([[1, 3, 0], [3, 1, 0]])
    own = part.table.weight[torch.tensor([[1, 7, 8], [3, 5, 8]])].sum(dim=1)
    together = part.shared.weight[x].sum(dim=1)
    torch.testing.assert_close(part(x), own + together)
    torch.testing.assert_close(together[0], together[1])
    assert not torch.allclose(part(x)[0], part(x)[1]), "but where each code is still matters"
    for space in (gym.spaces.MultiDiscrete([4, 3]), gym.spaces.Discrete(4)):
        tokens, _ = encoder(space)
        assert [m.shared for m in tokens.modules() if isinstance(m, CategoriesEncoder)] == [None]


def test_codes_of_each_element_have_rows_of_their_own() -> None:
    tokens, _ = encoder(gym.spaces.MultiDiscrete([3, 4, 2]))
    (module,) = tokens.encoders
    assert isinstance(module, CategoriesEncoder) and module.table.num_embeddings == 9
    token = module(torch.tensor([[2, 3, 1], [0, 0, 0]]))
    rows = module.table.weight
    torch.testing.assert_close(token, torch.stack([rows[2] + rows[6] + rows[8], rows[0] + rows[3] + rows[7]]))


def test_an_image_is_the_same_in_either_layout_and_its_pixels_are_scaled() -> None:
    last, _ = encoder(gym.spaces.Box(0, 255, (24, 30, 3), np.uint8))
    first, _ = encoder(gym.spaces.Box(0, 255, (3, 24, 30), np.uint8))
    first.load_state_dict(last.state_dict())
    picture = torch.randint(256, (2, 24, 30, 3), dtype=torch.uint8)
    one, other = last.encoders[0](picture), first.encoders[0](picture.permute(0, 3, 1, 2).contiguous())
    torch.testing.assert_close(one, other)
    (image,) = last.encoders
    assert isinstance(image, ConvolutionEncoder)
    white = image.linear(image.convolutions(torch.ones(1, 3, 24, 30)))
    torch.testing.assert_close(image(torch.full((1, 24, 30, 3), 255, dtype=torch.uint8)), white)


def test_a_text_is_the_mean_of_its_trigrams_however_short() -> None:
    tokens, spec = encoder(gym.spaces.Text(9))
    codes = torch.from_numpy(np.stack([spec.flatten(text, None)["observation"] for text in ("a", "abc")]))
    (module,) = tokens.encoders
    assert isinstance(module, Deduplicated) and isinstance(module.encoder, TextEncoder)
    table = module.encoder.table.weight
    wanted = [table[row[row > 0].long()].mean(dim=0) for row in codes]
    assert [int((row > 0).sum()) for row in codes] == [1, 3], "with the marks of beginning and end"
    torch.testing.assert_close(module(codes), torch.stack(wanted))


@pytest.mark.parametrize("name", ["grid", "text"])
def test_encoding_distinct_rows_once_changes_nothing(name: str) -> None:
    tokens, spec = encoder(SPACES[name])
    rows = seen(SPACES[name], spec, 6)["observation"]
    repeated = rows[torch.tensor([0, 3, 3, 1, 0, 5, 2, 4, 0]).repeat(WORTH_COMPARING // 9 + 1)]
    once = tokens.encoders[0]
    assert isinstance(once, Deduplicated)
    encoded: list[int] = []
    once.encoder.register_forward_pre_hook(lambda module, given: encoded.append(len(given[0])))
    direct, found = once.encoder(repeated), once(repeated)
    once(rows)
    assert encoded == [len(repeated), 6, 6], "the distinct rows, or all of a few"
    torch.testing.assert_close(found, direct)
    gradients = []
    for out in (direct, found):
        tokens.zero_grad()
        out.square().sum().backward()
        gradients.append([p.grad.clone() for p in once.parameters() if p.grad is not None])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_previous_action_and_reward_are_part_of_the_token_and_can_be_switched_off() -> None:
    space = SPACES["vector"]
    for off in (None, "previous_action", "previous_reward", "first_step"):
        tokens, spec = encoder(space, **({off: False} if off else {}))
        observation = seen(space, spec, 1)
        action, reward, first = torch.tensor([[1]]), torch.tensor([2.0]), torch.tensor([False])
        plain = tokens(observation, action, reward, first)
        moved = {
            "previous_action": tokens(observation, torch.tensor([[2]]), reward, first),
            "previous_reward": tokens(observation, action, torch.tensor([3.0]), first),
        }
        for part, other in moved.items():
            assert torch.equal(plain, other) == (part == off)
        begun = tokens(observation, action, reward, torch.tensor([True]))
        unlike = tokens(observation, torch.tensor([[2]]), torch.tensor([9.0]), torch.tensor([True]))
        assert torch.equal(begun, unlike), "an episode's first step has no previous action or reward"


def test_rule_7_a_reward_a_thousand_times_larger_is_a_few_times_larger_in_the_token() -> None:
    tokens, spec = encoder(SPACES["vector"])
    observation = seen(SPACES["vector"], spec, 1)
    action, first = torch.tensor([[0]]), torch.tensor([False])
    zero, one, thousand = (tokens(observation, action, torch.tensor([r]), first) for r in (0.0, 1.0, 1000.0))
    assert 5 < (thousand - zero).norm() / (one - zero).norm() < 12  # log(1001) / log(2) = 9.97


def test_statistics_leave_bounded_numbers_alone_and_survive_what_never_varies() -> None:
    leaf = ObservationSpec.from_space(
        gym.spaces.Box(np.array([-2, -np.inf, -np.inf]), np.array([4, np.inf, np.inf]))
    ).leaves[0]
    encoder_ = VectorEncoder(leaf, 8)
    encoder_.observe(torch.tensor([100.0, 5.0, 7.0]), torch.tensor([100.0, 2.0, 0.0]))
    given = torch.tensor([[4.0, 9.0, 7.0], [-2.0, 1e9, 8.0]])
    found = encoder_.normalise(given)
    np.testing.assert_array_equal(encoder_.normalise_array(given.double().numpy()), found.numpy())
    torch.testing.assert_close(found, torch.tensor([[1.0, 2.0, 0.0], [-1.0, 10.0, 1.0]]))


def test_a_missing_leaf_is_named() -> None:
    tokens, spec = encoder(SPACES["nested"])
    observation = seen(SPACES["nested"], spec, 2)
    del observation["b"]
    with pytest.raises(SpaceError, match="lacks 'b'"):
        tokens(observation, *parts(2))
