"""Pixels or codes, large numbers, and the advice for action spaces that are not supported."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from seqel.errors import SpaceError
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.spaces.action import WRAPPER
from seqel.spaces.precision import lost_in_float32, shift_for


def leaf_of(space: spaces.Space[Any], **read_as: str) -> Any:
    (leaf,) = ObservationSpec.from_space(space, read_as).leaves
    return leaf


@pytest.mark.parametrize(
    ("high", "shape", "kind", "dtype"),
    [
        (255, (25, 25, 3), "image", "uint8"),
        (254, (25, 25, 3), "grid", "uint8"),
        (10, (25, 25, 3), "grid", "uint8"),
        (10, (64, 64), "grid", "uint8"),
        (1, (4, 84, 84), "image", "bool"),
        (1, (84, 84), "image", "bool"),
    ],
)
def test_high_distinguishes_codes_from_pixels(high: int, shape: tuple[int, ...], kind: str, dtype: str) -> None:
    leaf = leaf_of(spaces.Box(0, high, shape, np.uint8))
    assert (leaf.kind, leaf.dtype) == (kind, dtype)
    if kind == "grid":
        assert leaf.sizes == (high + 1,) * (shape[-1] if len(shape) == 3 else 1)


def test_a_grid_is_read_as_it_is_asked_for_and_compared_as_it_was_read() -> None:
    space = spaces.Box(0, 255, (25, 25, 3), np.uint8)
    codes = ObservationSpec.from_space(space, {"observation": "codes"})
    assert codes.leaves[0].kind == "grid" and codes.leaves[0].sizes == (256,) * 3
    assert codes.same_reading(space) == codes != ObservationSpec.from_space(space)
    assert codes.same_reading(spaces.Discrete(3)) == ObservationSpec.from_space(spaces.Discrete(3))
    assert leaf_of(spaces.Box(0, 9, (5, 5), np.int64), observation="pixels").kind == "image"
    assert ObservationSpec.from_json(codes.to_json()) == codes


def test_only_large_numbers_of_one_sign_are_shifted_and_never_away_from_zero() -> None:
    def shift(low: Any, high: Any, dtype: Any = np.float64) -> Any:
        return shift_for(np.array([low], dtype), np.array([high], dtype))

    assert shift(1.7e9, 1.8e9) == (1.7e9,) and shift(-1.8e9, -1.7e9) == (-1.7e9,)
    assert shift(1 << 60, (1 << 60) + 9, np.int64) == (1 << 60,)
    assert shift(0, 1e12) == shift(-1e12, 1e12) == shift(1000, 1001) == shift(-np.inf, np.inf) == ()
    assert shift(1.7e9, 1.8e9, np.float32) == (), "they are float32 already"
    few = ObservationSpec((leaf_of(spaces.Box(1 << 60, (1 << 60) + 9, (1,), np.int64)),))
    leaf = leaf_of(spaces.Box(1 << 60, (1 << 60) + 999, (1,), np.int64))
    spec = ObservationSpec((leaf,))
    values = np.array([[(1 << 60) + n] for n in range(10)])
    assert few.leaves[0].kind == "categories" and leaf.kind == "vector"
    for one in (few, spec):
        assert one.flatten(values, 10)["observation"][:, 0].tolist() == list(range(10))
    assert leaf.low == (0.0,) and ObservationSpec.from_json(spec.to_json()) == spec


def test_numbers_are_lost_where_float32_has_too_few_values_between_them() -> None:
    least, greatest = np.array([1.7e9, 1.7e9, 0.0, 1.7e9, 0.5]), np.array([1.7e9 + 600, 1.8e9, 1e9, 1.7e9, 0.5 + 1e-10])
    assert lost_in_float32(least, greatest).tolist() == [True, False, False, False, False]


class Controls(gym.Env[Any, Any]):
    observation_space = spaces.Discrete(2)

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.action_space = space


@pytest.mark.parametrize(
    ("space", "actions"),
    [
        (spaces.Box(-2, 2, (1,)), 3),
        (spaces.Box(-1, 1, (2, 2)), 81),
        (spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 1, (1,)))), 6),
        (spaces.Dict({"turn": spaces.Discrete(3, start=-1), "push": spaces.Box(0, 1, (2,))}), 27),
    ],
    ids=str,
)
def test_the_advice_for_other_action_spaces_works_as_it_is_printed(space: Any, actions: int) -> None:
    with pytest.raises(SpaceError) as caught:
        ActionSpec.from_space(space)
    assert WRAPPER in str(caught.value)
    code = "\n".join(line[4:] for line in WRAPPER.splitlines() if line.startswith("    ") or not line)
    names: dict[str, Any] = {}
    exec(code, names)
    env = names["Discretized"](Controls(space))
    assert ActionSpec.from_space(env.action_space).actions == actions
    assert all(space.contains(env.action(number)) for number in range(actions))
    assert names["make"]().action_space.n == 3


@pytest.mark.parametrize(
    "space", [spaces.Box(-1, 1, (3,)), spaces.Discrete(4), spaces.Text(9), spaces.MultiBinary([2, 2])]
)
def test_a_single_observation_where_a_batch_belongs_is_a_space_error(space: Any) -> None:
    spec = ObservationSpec.from_space(space)
    space.seed(0)
    one = space.sample()
    with pytest.raises(SpaceError):
        spec.flatten(one, spec.rows(one))
    with pytest.raises(SpaceError, match="got a single observation"):
        spec.rows(spec.flatten(one, None))
