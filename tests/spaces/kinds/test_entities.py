"""Sets of entities: both conventions are read alike, absent rows leave no trace, and what does not fit says the way out."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import concatenate, create_empty_array

from seqel.errors import ConfigError, SpaceError
from seqel.spaces import ObservationSpec
from seqel.spaces.kinds.entities import LIMIT
from seqel.spaces.kinds.registry import KINDS

ROW = spaces.Box(-1, 1, (3,))
SEQUENCE = spaces.Sequence(ROW)
PADDED = spaces.Dict({"entities": spaces.Box(-1, 1, (4, 3)), "present": spaces.MultiBinary(4)})


def spec_of(space: spaces.Space[Any], **hints: Any) -> ObservationSpec:
    return ObservationSpec.from_space(space, hints)


def padded(rows: np.ndarray, filler: float, count: int = 4) -> dict[str, np.ndarray]:
    out = np.full((count, rows.shape[1]), filler, np.float32)
    out[: len(rows)] = rows
    return {"entities": out, "present": (np.arange(count) < len(rows)).astype(np.int8)}


@pytest.mark.parametrize(
    "present",
    [spaces.MultiBinary(4), spaces.Box(0, 1, (4,), cast(Any, np.bool_)), spaces.Box(0, 1, (4,), np.float32)],
    ids=str,
)
def test_rows_with_a_presence_mask_are_one_leaf_anywhere_in_an_observation(present: Any) -> None:
    objects = spaces.Dict({"entities": spaces.Box(-1, 1, (4, 3)), "present": present})
    spec = spec_of(spaces.Dict({"self": ROW, "near": spaces.Tuple([objects, spaces.Discrete(2)])}))
    assert [(leaf.path, leaf.kind) for leaf in spec.leaves] == [
        ("near/0", "entities"), ("near/1", "categories"), ("self", "vector"),
    ]  # fmt: skip
    assert spec.storage["near/0"] == ((4, 4), np.dtype(np.float32))
    assert spec_of(objects).leaves[0].path == "observation"
    assert ObservationSpec.from_json(spec.to_json()) == spec


def test_both_conventions_store_the_same_and_absent_rows_leave_no_trace() -> None:
    rows = np.random.default_rng(0).uniform(-1, 1, (2, 3)).astype(np.float32)
    wanted = np.zeros((4, 4), np.float32)
    wanted[:2, :3], wanted[:2, 3] = rows, 1
    fixed, free = spec_of(PADDED), spec_of(SEQUENCE, observation=4)
    for filler in (0.0, 0.7, 1e30, np.nan, np.inf):
        np.testing.assert_array_equal(fixed.flatten(padded(rows, filler), None)["observation"], wanted)
    for value in (tuple(rows), rows, rows.tolist(), rows.astype(np.float64)):
        np.testing.assert_array_equal(free.flatten(value, None)["observation"], wanted)


def test_a_batch_of_sets_of_different_sizes_is_padded_and_empty_sets_are_sets() -> None:
    rng = np.random.default_rng(0)
    sets: list[Any] = [tuple(rng.uniform(-1, 1, (n, 3)).astype(np.float32)) for n in (2, 0, 4)]
    spec = spec_of(SEQUENCE, observation=5)
    batch = concatenate(
        SEQUENCE, sets, cast(Any, create_empty_array(SEQUENCE, 3))
    )  # as a vector environment gives them
    found = spec.flatten(batch, 3)["observation"]
    assert found.shape == (3, 5, 4) and found[..., 3].sum(axis=1).tolist() == [2, 0, 4]
    for row, one in enumerate(sets):
        np.testing.assert_array_equal(found[row], spec.flatten(one, None)["observation"])
    assert not spec.flatten(((), ()), 2)["observation"].any()
    stacked = spaces.Sequence(ROW, stack=True)
    one = spec_of(stacked).flatten(np.zeros((2, 3), np.float32), None)["observation"]
    assert one.shape == (LIMIT, 4) and one[:, 3].sum() == 2


def test_single_sets_and_batches_are_distinguished() -> None:
    spec, row = spec_of(SEQUENCE), np.zeros(3, np.float32)
    one: Any
    many: Any
    for one in ((), (row,), (row, row), np.zeros((0, 3)), np.zeros((2, 3)), [[0, 0, 0]]):
        assert spec.is_single(one), one
        with pytest.raises(SpaceError, match="expected a batch"):
            spec.rows(one)
    for many, count in ((((),), 1), (((), (row,)), 2), (((row,), ()), 2), (np.zeros((5, 2, 3)), 5)):
        assert not spec.is_single(many) and spec.rows(many) == count
    fixed = spec_of(PADDED)
    one = padded(np.zeros((2, 3)), 0)
    both = {name: np.stack([part] * 2) for name, part in one.items()}
    assert fixed.is_single(one) and not fixed.is_single(both) and fixed.rows(both) == 2
    assert fixed.flatten(both, 2)["observation"].shape == (2, 4, 4)


def test_more_entities_than_there_is_room_for_say_what_to_set() -> None:
    spec = spec_of(spaces.Dict({"near": SEQUENCE}))
    with pytest.raises(SpaceError, match=rf"at most {LIMIT} entities, got 40.*--set observation\.near=64.*metadata"):
        spec.flatten({"near": np.zeros((40, 3))}, None)
    assert spec_of(spaces.Dict({"near": SEQUENCE}), near=64).flatten({"near": np.zeros((40, 3))}, None)["near"].any()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ((np.zeros(2),), "3 numbers each"),
        ((np.array([0, np.nan, 0]),), "finite numbers of entities that are present"),
        (("abc",), "expected"),
        (None, "rows of numbers"),
        (((0.0, 0.0, 0.0), (0.0,)), "rows of numbers"),
    ],
)
def test_what_is_no_set_of_rows_is_refused(value: Any, says: str) -> None:
    with pytest.raises(SpaceError, match=says):
        spec_of(SEQUENCE).flatten(value, None)


def test_a_padded_set_must_be_as_its_space_says() -> None:
    spec, good = spec_of(PADDED), padded(np.zeros((2, 3)), 0)
    with pytest.raises(SpaceError, match="expected present to be 0 or 1"):
        spec.flatten(good | {"present": np.array([0, 1, 2, 0])}, None)
    with pytest.raises(SpaceError, match="as the space says"):
        spec.flatten(good | {"entities": np.zeros((5, 3))}, None)
    with pytest.raises(SpaceError, match="'entities' and 'present'"):
        spec.flatten({"entities": good["entities"]}, None)
    wrong = spaces.Dict({"entities": spaces.Box(-1, 1, (4, 3)), "present": spaces.MultiBinary(5)})
    with pytest.raises(SpaceError, match="a value for each of 4 rows"):
        spec_of(wrong)


def test_other_dicts_keep_their_reading() -> None:
    other = spaces.Dict({"entities": spaces.Box(-1, 1, (4, 3)), "present": spaces.MultiBinary(4), "more": ROW})
    assert [leaf.kind for leaf in spec_of(other).leaves] == ["vector"] * 3
    flat = spaces.Dict({"entities": spaces.Box(-1, 1, (4,)), "present": spaces.MultiBinary(4)})
    assert [leaf.kind for leaf in spec_of(flat).leaves] == ["vector"] * 2


@pytest.mark.parametrize("hint", [0, -1, True, "many", "pixels"])
def test_a_hint_that_is_no_number_is_refused(hint: Any) -> None:
    with pytest.raises(ConfigError, match="how many entities there can be"):
        spec_of(SEQUENCE, observation=hint)
    with pytest.raises(ConfigError, match=r"its space says|expected"):
        spec_of(PADDED, observation=hint)


def test_an_agents_reading_is_kept_for_another_space() -> None:
    spec = spec_of(SEQUENCE, observation=7)
    assert spec.same_reading(SEQUENCE) == spec != spec_of(SEQUENCE)
    assert spec_of(PADDED).same_reading(PADDED) == spec_of(PADDED)


def test_large_features_are_shifted_before_they_become_float32() -> None:
    space = spaces.Sequence(spaces.Box(np.array([1.7e9, -1.0]), np.array([1.8e9, 1.0]), (2,), np.float64))
    spec = spec_of(space)
    assert spec.leaves[0].offset == (1.7e9, 0)
    found = spec.flatten([(1.7e9 + 61.0, 0.5)], None)["observation"]
    assert found[0].tolist() == [61.0, 0.5, 1.0] and not found[1:].any()


def test_counts_do_not_depend_on_the_order() -> None:
    (leaf,) = spec_of(SEQUENCE, observation=6).leaves
    sketch = KINDS["entities"].sketcher(leaf, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.uniform(-1, 1, (5, 6, 3)), np.ones((5, 6, 1))], axis=-1).astype(np.float32)
    x[:, 4:] = 0

    def normalise(path: str, values: Any) -> Any:
        return values

    codes = sketch(x, normalise)
    assert codes.shape == (5, KINDS["entities"].sketch_width(leaf)) and len(set(codes[:, 0].tolist())) == 5
    np.testing.assert_array_equal(sketch(x[:, rng.permutation(6)], normalise), codes)
