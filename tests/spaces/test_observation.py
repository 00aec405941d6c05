"""Rule 11: every observation space becomes flat leaves and survives JSON; errors about others say what is supported."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array
from hypothesis import given, settings
from hypothesis import strategies as st

from seqel.errors import SpaceError
from seqel.spaces import ActionSpec, FlatObservation, Leaf, ObservationSpec
from seqel.spaces.text_readers import TEXT_LENGTH, hash_text

INF = float("inf")


BOOL: Any = np.bool_  # Gymnasium declares fewer types than it takes


def leaf_of(space: spaces.Space[Any]) -> Leaf:
    (leaf,) = ObservationSpec.from_space(space).leaves
    return leaf


def batched(space: spaces.Space[Any], items: list[Any]) -> Any:
    """Return the batch that a Gymnasium vector environment makes of single observations."""
    empty: Any = create_empty_array(space, len(items))
    return concatenate(space, items, empty)


# -- which kind ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "kind", "shape", "dtype"),
    [
        (spaces.Box(-1, 1, (3,)), "vector", (3,), "float32"),
        (spaces.Box(-1, 1, (2, 3), np.float64), "vector", (6,), "float32"),
        (spaces.Box(-INF, INF, ()), "vector", (1,), "float32"),
        (spaces.Box(0, 100_000, (2,), np.int64), "vector", (2,), "float32"),
        (spaces.Box(-300, 300, (4,), np.int16), "vector", (4,), "int16"),
        (spaces.Box(0, 255, (128,), np.uint8), "vector", (128,), "uint8"),
        (spaces.MultiBinary(5), "vector", (5,), "uint8"),
        (spaces.MultiBinary([2, 2]), "vector", (4,), "uint8"),
        (spaces.Box(0, 255, (84, 84), np.uint8), "image", (84, 84), "uint8"),
        (spaces.Box(0, 255, (84, 84, 3), np.uint8), "image", (84, 84, 3), "uint8"),
        (spaces.Box(0, 255, (4, 84, 84), np.uint8), "image", (4, 84, 84), "uint8"),
        (spaces.Box(0, 1, (10, 10, 4), BOOL), "image", (10, 10, 4), "bool"),  # MinAtar
        (spaces.Box(0, 1, (4,), BOOL), "vector", (4,), "float32"),
        (spaces.Box(0, 255, (20, 10, 30), np.uint8), "grid", (20, 10, 30), "uint8"),  # too flat to be a picture
        (spaces.Box(0, 255, (7, 7, 3), np.uint8), "grid", (7, 7, 3), "uint8"),  # MiniGrid
        (spaces.Box(0, 9, (4, 4), np.int64), "grid", (4, 4), "uint8"),
        (spaces.Box(0, 1, (3, 30, 30), np.int32), "grid", (3, 30, 30), "uint8"),
        (spaces.Box(200, 300, (3, 3), np.int32), "vector", (9,), "float32"),  # codes that no byte holds
        (spaces.Box(0, 3, (5,), np.int32), "categories", (5,), "int64"),
        (spaces.Box(-2, 2, (2, 2), np.int8), "categories", (4,), "int64"),
        (spaces.Discrete(5), "categories", (1,), "int64"),
        (spaces.MultiDiscrete([3, 4]), "categories", (2,), "int64"),
        (spaces.MultiDiscrete(np.array([[3, 4], [5, 6]])), "categories", (4,), "int64"),
        (spaces.Text(20), "text", (TEXT_LENGTH,), "int16"),
    ],
    ids=str,
)
def test_each_space_is_read_as_one_kind(space: Any, kind: str, shape: tuple[int, ...], dtype: str) -> None:
    leaf = leaf_of(space)
    assert (leaf.kind, leaf.shape, leaf.dtype) == (kind, shape, dtype)
    space.seed(0)
    single = ObservationSpec((leaf,)).flatten(space.sample(), None)
    assert isinstance(single, FlatObservation)
    assert single["observation"].shape == shape and single["observation"].dtype == dtype


def test_channels_are_found_first_and_last() -> None:
    assert leaf_of(spaces.Box(0, 255, (84, 84, 3), np.uint8)).channels_last
    assert not leaf_of(spaces.Box(0, 255, (4, 84, 84), np.uint8)).channels_last
    assert not leaf_of(spaces.Box(0, 255, (84, 84), np.uint8)).channels_last
    assert leaf_of(spaces.Box(0, 255, (84, 84, 1), np.uint8)).channels_last
    assert leaf_of(spaces.Box(0, 10, (7, 7, 3), np.uint8)).channels_last


# -- values -------------------------------------------------------------------------------------------------------


def test_codes_count_from_zero_whatever_the_start() -> None:
    discrete = ObservationSpec.from_space(spaces.Discrete(4, start=-2))
    assert discrete.flatten(-2, None)["observation"].tolist() == [0]
    assert discrete.flatten(np.array([-2, 1]), 2)["observation"].tolist() == [[0], [3]]
    grid = ObservationSpec.from_space(
        spaces.MultiDiscrete(np.array([[2, 3], [4, 5]]), start=np.array([[10, 20], [30, 40]]))
    )
    assert grid.flatten(np.array([[11, 20], [33, 44]]), None)["observation"].tolist() == [1, 0, 3, 4]
    box = ObservationSpec.from_space(spaces.Box(-3, 3, (2,), np.int32))
    assert box.flatten(np.array([[-3, 3]]), 1)["observation"].tolist() == [[0, 6]]


@pytest.mark.parametrize(
    ("space", "value"),
    [
        (spaces.Discrete(3), 3),
        (spaces.Discrete(3, start=1), 0),
        (spaces.Discrete(3), float("nan")),
        (spaces.MultiDiscrete([2, 9]), np.array([2, 0])),
        (spaces.Box(0, 3, (2,), np.int32), np.array([0, 4])),
        (spaces.Box(0, 10, (3, 3), np.uint8), np.full((3, 3), 11, np.uint8)),  # would read another channel's codes
        (spaces.Box(0, 10, (3, 3), np.int64), np.full((3, 3), -1)),
        (spaces.Box(0, 10, (3, 3), np.int64), np.full((3, 3), 256)),  # 0 in a byte
        (spaces.Box(0, 255, (24, 24), np.uint8), np.full((24, 24), 0.5)),  # 0 in a byte
        (spaces.Box(-300, 300, (2,), np.int16), np.array([70_000, 0])),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
def test_a_value_outside_its_space_is_an_error_not_another_value(space: Any, value: Any) -> None:
    with pytest.raises(SpaceError, match=r"'observation'"):
        ObservationSpec.from_space(space).flatten(value, None)
    with pytest.raises(SpaceError, match=r"'observation'"):
        ObservationSpec.from_space(space).flatten(np.asarray(value)[None], 1)


@pytest.mark.parametrize(
    ("space", "value"),
    [
        (spaces.Box(-1, 1, (2, 3)), np.zeros((2, 3, 2))),  # transposed: as many numbers, another meaning
        (spaces.Box(-1, 1, (3,)), np.zeros((3, 2))),
        (spaces.Box(-1, 1, (3,)), np.zeros(6)),
        (spaces.Box(-1, 1, (3,)), np.zeros((2, 4))),
        (spaces.Box(0, 255, (84, 84, 3), np.uint8), np.zeros((2, 3, 84, 84), np.uint8)),
        (spaces.Discrete(3), np.zeros((2, 2), int)),
        (spaces.Discrete(3), None),
        (spaces.Box(-1, 1, (2,)), [[0.0, 1.0], [2.0]]),
        (spaces.Box(-1, 1, (2,)), np.array([["a", "b"], ["c", "d"]])),
        (spaces.Text(9), ("one",)),
        (spaces.Text(9), (1, 2)),
    ],
    ids=str,
)
def test_wrong_shapes_and_things_are_errors(space: Any, value: Any) -> None:
    with pytest.raises(SpaceError, match="'observation': expected"):
        ObservationSpec.from_space(space).flatten(value, 2)


def test_a_missing_part_is_named() -> None:
    spec = ObservationSpec.from_space(
        spaces.Dict({"a": spaces.Dict({"b": spaces.Discrete(2)}), "c": spaces.Discrete(2)})
    )
    with pytest.raises(SpaceError, match="lacks 'a/b'; found"):
        spec.flatten({"a": {"x": 0}, "c": 1}, None)
    with pytest.raises(SpaceError, match="lacks 'a/b'"):
        spec.flatten(3, None)


def test_a_tuple_of_dicts_of_tuples() -> None:
    space = spaces.Tuple(
        (
            spaces.Dict(
                {"eye": spaces.Box(0, 255, (24, 24, 3), np.uint8), "pose": spaces.Tuple([spaces.Discrete(3)] * 2)}
            ),
            spaces.Text(8),
        )
    )
    spec = ObservationSpec.from_space(space)
    assert [leaf.path for leaf in spec.leaves] == ["0/eye", "0/pose/0", "0/pose/1", "1"]
    assert [leaf.kind for leaf in spec.leaves] == ["image", "categories", "categories", "text"]
    assert spec.storage["0/eye"] == ((24, 24, 3), np.dtype("uint8"))
    flat = spec.flatten(({"eye": np.full((24, 24, 3), 7, np.uint8), "pose": (2, 1)}, "hello"), None)
    assert flat["0/pose/0"].tolist() == [2] and flat["0/pose/1"].tolist() == [1]
    assert flat["0/eye"].max() == 7 and (flat["1"] == hash_text("hello")).all()


def test_infinite_bounds_survive_json() -> None:
    spec = ObservationSpec.from_space(spaces.Box(np.array([-INF, 0]), np.array([1, INF]), dtype=np.float64))
    assert spec.leaves[0].low == (-INF, 0.0) and spec.leaves[0].high == (1.0, INF)
    assert ObservationSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_a_single_observation_and_a_batch_are_distinguished_where_sizes_are_ambiguous() -> None:
    discrete = ObservationSpec.from_space(spaces.Discrete(4))
    assert discrete.is_single(3) and discrete.is_single(np.int64(3)) and not discrete.is_single(np.array([3]))
    vector = ObservationSpec.from_space(spaces.Box(-1, 1, (3,)))
    assert vector.is_single(np.zeros(3)) and not vector.is_single(np.zeros((1, 3)))
    plane = ObservationSpec.from_space(spaces.Box(-1, 1, (2, 2)))
    assert plane.is_single(np.zeros((2, 2))) and not plane.is_single(np.zeros((1, 2, 2)))
    text = ObservationSpec.from_space(spaces.Dict({"t": spaces.Text(5)}))
    assert text.is_single({"t": "ab"}) and not text.is_single({"t": ("ab",)})


def test_texts_keep_their_beginning_and_differ() -> None:
    assert hash_text("abc").tolist()[:3] != hash_text("abd").tolist()[:3]
    assert (hash_text("") != 0).sum() == 1 and (hash_text("é" * 500) != 0).all()
    spec = ObservationSpec.from_space(spaces.Text(9))
    rows = spec.flatten(("abc", "abd"), 2)["observation"]
    assert rows.shape == (2, TEXT_LENGTH) and (rows[0] != rows[1]).any() and rows.flags.writeable


class Mission(spaces.Space[str]):
    """A space of texts that is no `Text`, as MiniGrid's is."""

    def __init__(self, dtype: Any = str) -> None:
        super().__init__(dtype=dtype, seed=0)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        return "go to the green ball"


def test_a_space_of_texts_of_another_make_is_read_as_texts() -> None:
    """MiniGrid's MissionSpace: recognised by its dtype, and read in a batch as a tuple, a list or an array of strings."""
    spec = ObservationSpec.from_space(spaces.Dict({"mission": Mission(), "direction": spaces.Discrete(4)}))
    assert {leaf.path: leaf.kind for leaf in spec.leaves} == {"direction": "categories", "mission": "text"}
    single = spec.flatten({"mission": "go", "direction": 1}, None)["mission"]
    assert (single == hash_text("go")).all()
    for texts in (("go", "stop"), ["go", "stop"], np.array(["go", "stop"])):
        both = spec.flatten({"mission": texts, "direction": np.array([1, 2])}, 2)["mission"]
        assert (both[0] == single).all() and (both[1] == hash_text("stop")).all()
    with pytest.raises(SpaceError, match="unsupported space"):
        ObservationSpec.from_space(Mission(np.object_))


def test_minigrids_own_mission_space() -> None:
    mission = pytest.importorskip("minigrid.core.mission").MissionSpace(lambda: "go to the green ball")
    spec = ObservationSpec.from_space(spaces.Dict({"mission": mission}))
    assert [leaf.kind for leaf in spec.leaves] == ["text"]
    assert (spec.flatten({"mission": mission.sample()}, None)["mission"] == hash_text("go to the green ball")).all()


# -- what is not supported ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "names"),
    [
        (spaces.Sequence(spaces.Discrete(2)), "Sequence"),
        (spaces.Graph(spaces.Discrete(2), None), "Graph"),
        (spaces.OneOf([spaces.Discrete(2), spaces.Discrete(3)]), "OneOf"),
        (
            spaces.Dict({"ok": spaces.Discrete(2), "deep": spaces.Tuple([spaces.Sequence(spaces.Discrete(2))])}),
            "deep/0",
        ),
        (spaces.Box(-1, 1, (0,)), "Box"),
        (spaces.Dict({}), "no leaves"),
        (spaces.Discrete(10**9), "embedding"),
    ],
    ids=str,
)
def test_an_unsupported_observation_space_is_named_with_what_would_work(space: Any, names: str) -> None:
    with pytest.raises(SpaceError, match=r"(Supported: Box|as a Box)") as caught:
        ObservationSpec.from_space(space)
    assert names in str(caught.value)


def test_two_parts_of_one_name_are_refused() -> None:
    space = spaces.Dict({"a/b": spaces.Discrete(2), "a": spaces.Dict({"b": spaces.Discrete(3)})})
    with pytest.raises(SpaceError, match="two parts called 'a/b': rename"):
        ObservationSpec.from_space(space)


@pytest.mark.parametrize(
    ("space", "advice"),
    [
        (spaces.Box(-1, 1, (2,)), "Let each Discrete action stand for one setting"),
        (spaces.MultiDiscrete(np.array([[3, 4], [2, 2]])), r"the shape \[2, 2\]. Flatten it"),
        (spaces.MultiDiscrete([7]), r"declare it as gymnasium.spaces.Discrete\(7\)"),
        (spaces.MultiBinary(3), "it needs gymnasium.spaces.Discrete"),
        (spaces.Dict({"a": spaces.Discrete(2)}), "it needs gymnasium.spaces.Discrete"),
    ],
    ids=str,
)
def test_an_unsupported_action_space_is_named_with_what_would_work(space: Any, advice: str) -> None:
    with pytest.raises(SpaceError, match=advice) as caught:
        ActionSpec.from_space(space)
    assert str(space) in str(caught.value)


def test_discrete_actions_keep_their_start() -> None:
    spec = ActionSpec.from_space(spaces.Discrete(3, start=5))
    assert (spec.sizes, spec.start, spec.actions, spec.dims) == ((3,), (5,), 3, 1)


def test_several_actions_at_once_keep_their_sizes_and_starts() -> None:
    spec = ActionSpec.from_space(spaces.MultiDiscrete([3, 5, 2], start=[0, -2, 7]))
    assert (spec.sizes, spec.start, spec.actions, spec.dims) == ((3, 5, 2), (0, -2, 7), 5, 3)
    assert spec.offset.tolist() == [0, -2, 7]
    assert spec.unmasked.astype(int).tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    assert str(spec) == "3 x 5 x 2"


def test_one_action_has_masks_and_offsets_without_an_axis_of_dimensions() -> None:
    spec = ActionSpec.from_space(spaces.Discrete(3, start=5))
    assert spec.unmasked.tolist() == [True] * 3 and spec.offset.shape == () and int(spec.offset) == 5


# -- any nested space ---------------------------------------------------------------------------------------------

SIDES = st.integers(1, 4)
PLAIN: st.SearchStrategy[spaces.Space[Any]] = st.one_of(
    st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 9), st.integers(-5, 5)),
    st.builds(spaces.MultiDiscrete, st.lists(st.integers(1, 5), min_size=1, max_size=3)),
    st.builds(lambda a, b: spaces.MultiDiscrete(np.full((a, b), 3), start=np.full((a, b), -1)), SIDES, SIDES),
    st.builds(spaces.MultiBinary, st.one_of(SIDES, st.lists(SIDES, min_size=1, max_size=2))),
    st.builds(lambda shape: spaces.Box(-INF, INF, tuple(shape)), st.lists(SIDES, max_size=3)),
    st.builds(lambda shape: spaces.Box(-4, 4, tuple(shape), np.float64), st.lists(SIDES, max_size=2)),
    st.builds(
        lambda shape, dtype, high: spaces.Box(0, high, tuple(shape), dtype),
        st.lists(SIDES, min_size=1, max_size=3),
        st.sampled_from([np.uint8, np.int16, np.int32, np.int64]),
        st.integers(1, 100),
    ),
    st.builds(lambda: spaces.Box(0, 255, (20, 22, 3), np.uint8)),
    st.builds(spaces.Text, st.integers(1, 12)),
)
NESTED = st.recursive(
    PLAIN,
    lambda inner: st.one_of(
        st.builds(spaces.Tuple, st.lists(inner, min_size=1, max_size=3)),
        st.builds(spaces.Dict, st.dictionaries(st.sampled_from("abcd"), inner, min_size=1, max_size=3)),
    ),
    max_leaves=5,
)


@settings(max_examples=80, deadline=None)
@given(space=NESTED, seed=st.integers(0, 1000), count=st.integers(1, 3))
def test_a_batch_flattens_to_its_single_observations_stacked(space: spaces.Space[Any], seed: int, count: int) -> None:
    spec = ObservationSpec.from_space(space)
    assert ObservationSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    space.seed(seed)
    items = [space.sample() for _ in range(count)]
    together = batched(space, items)
    assert batch_space(space, count) is not None
    flat = spec.flatten(together, count)
    alone = [spec.flatten(item, None) for item in items]
    assert list(flat) == [leaf.path for leaf in spec.leaves]
    for leaf in spec.leaves:
        assert flat[leaf.path].shape == (count, *leaf.shape) and flat[leaf.path].dtype == leaf.dtype
        np.testing.assert_array_equal(flat[leaf.path], np.stack([one[leaf.path] for one in alone]))
    assert spec.is_single(items[0]) and not spec.is_single(together)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused_with_their_place(bad: float) -> None:
    spec = ObservationSpec.from_space(spaces.Box(-np.inf, np.inf, (3,), np.float32))
    observation = np.zeros((2, 3), np.float32)
    observation[1, 2] = bad
    with pytest.raises(SpaceError, match=rf"'observation': expected finite numbers, got {bad} at \[1, 2\]"):
        spec.flatten(observation, 2)
