"""The features of decisions: one row per decision, from every kind of observation."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from seqel.datasets.encoding import Encoding
from seqel.datasets.schema import Schema
from seqel.errors import SpaceError
from seqel.monitoring.features import LONGEST, MOST_FEATURES, FeatureMap
from seqel.spaces import ActionSpec, ObservationSpec
from support_monitoring import NAMES, feature_map

BOX = gym.spaces.Box
ONE = ActionSpec((3,), (0,))


def features_of(space: gym.Space[object], action: ActionSpec = ONE) -> FeatureMap:
    return FeatureMap(ObservationSpec.from_space(space), action)


def test_numbers_and_categories_are_features_of_their_own() -> None:
    features = feature_map()
    assert features.names == NAMES and len(features) == 6 and features.observed == 4
    assert features.kinds == ["category", "number", "number", "number", "category", "number"]
    rows = features.rows({"colour": [[2], [0]], "seen": [[1.5, -2.0, 0.0], [0.0, np.nan, 9.0]]}, [1, 2], [0.5, -np.inf])
    expected = [[2, 1.5, -2.0, 0.0, 1, 0.5], [0, 0.0, np.nan, 9.0, 2, np.nan]]
    np.testing.assert_array_equal(rows, expected)
    unknown = features.rows({"colour": [[2]], "seen": [[1.5, -2.0, 0.0]]})
    assert np.isnan(unknown[0, 4:]).all()


def test_several_action_dimensions() -> None:
    features = features_of(BOX(-1, 1, (1,)), ActionSpec((3, 2), (0, 5)))
    assert features.names == ["observation", "action[0]", "action[1]", "q_max"]
    rows = features.rows({"observation": np.zeros((2, 1))}, [[2, 5], [0, 6]], [1.0, 2.0])
    assert rows[:, 1:3].tolist() == [[2, 5], [0, 6]]


def test_pictures_grids_and_long_vectors_are_summarised() -> None:
    space = gym.spaces.Dict({
        "picture": BOX(0, 255, (24, 24, 3), np.uint8),
        "grid": BOX(0, 10, (5, 5), np.uint8),
        "long": BOX(-np.inf, np.inf, (LONGEST + 1,)),
    })  # fmt: skip
    features = features_of(space)
    assert features.observed == 9 and "picture: share of zeros" in features.names
    picture = np.zeros((1, 24, 24, 3), np.uint8)
    picture[0, :12] = 100
    flat = {"picture": picture, "grid": np.full((1, 5, 5), 3), "long": np.zeros((1, LONGEST + 1))}
    found = dict(zip(features.names, features.rows(flat, [0], [0.0])[0].tolist(), strict=True))
    assert (found["picture: mean"], found["picture: standard deviation"], found["picture: share of zeros"]) == (
        50,
        50,
        0.5,
    )
    assert (found["grid: mean"], found["grid: standard deviation"], found["long: share of zeros"]) == (3, 0, 1)


def test_texts_have_a_length_and_may_be_empty() -> None:
    space = gym.spaces.Dict({"says": gym.spaces.Text(100)})
    spec = ObservationSpec.from_space(space)
    features = FeatureMap(spec, ONE)
    assert features.names[:2] == ["says: length", "says: empty"]
    flat = {"says": np.stack([spec.flatten({"says": text}, None)["says"] for text in ("hello", "")])}
    rows = features.rows(flat, [0, 0], [0.0, 0.0])
    assert rows[0, :2].tolist() == [5, 0], "five trigrams, with marks at both ends"
    assert rows[1, 0] < rows[0, 0]
    nothing = np.zeros_like(flat["says"])
    assert features.rows({"says": nothing}, [0, 0], [0.0, 0.0])[:, :2].tolist() == [[0, 1], [0, 1]]


def test_entities_are_counted_and_averaged_over_those_present() -> None:
    space = gym.spaces.Dict({"entities": BOX(-np.inf, np.inf, (4, 2)), "present": gym.spaces.MultiBinary(4)})
    features = features_of(gym.spaces.Dict({"others": space}))
    stored = np.zeros((2, 4, 3), np.float32)
    stored[0, 0] = [2.0, 10.0, 1.0]
    stored[0, 1] = [4.0, 30.0, 1.0]
    rows = features.rows({"others": stored}, [0, 0], [0.0, 0.0])
    assert rows[0, :3].tolist() == [2, 3, 20]
    assert rows[1, 0] == 0 and np.isnan(rows[1, 1:3]).all()


def test_the_number_of_features_is_bounded() -> None:
    space = gym.spaces.Dict({f"part{n}": BOX(-np.inf, np.inf, (50,)) for n in range(20)})
    features = features_of(space)
    assert features.observed <= MOST_FEATURES
    assert "part0: mean" in features.names and any(name.endswith("[49]") for name in features.names)


def test_the_columns_of_a_table_name_the_features() -> None:
    schema = Schema.from_json({
        "session": "who", "order": "step", "action": "do", "reward": "gain",
        "observation": {"x": "number", "kind": "category", "y": "number", "q_max": "number"},
    })  # fmt: skip
    encoding = Encoding(schema, ("go", "stay"), {"kind": ("red", "blue")}, {}, ("y",))
    features = FeatureMap(encoding.observation, encoding.action, encoding)
    assert features.names == ["x", "y", "q_max (2)", "y is missing", "kind", "action", "q_max"]
    row = encoding.row({"x": 1, "y": None, "kind": "blue", "q_max": 7})
    batch = {path: leaf[None] for path, leaf in row.items()}
    assert features.rows(batch, [1], [0.5])[0].tolist() == [1, 0, 7, 1, 2, 1, 0.5]


def test_what_does_not_fit_is_refused() -> None:
    features = feature_map()
    good = {"colour": np.zeros((2, 1)), "seen": np.zeros((2, 3))}
    with pytest.raises(SpaceError, match=r"lacks 'seen'; got \['colour'\]"):
        features.rows({"colour": good["colour"]}, [0, 0], [0, 0])
    with pytest.raises(SpaceError, match=r"'seen': expected \['R', 3\], got \[2, 4\]"):
        features.rows({**good, "seen": np.zeros((2, 4))}, [0, 0], [0, 0])
    with pytest.raises(SpaceError, match="as many rows each, got 2 and 3"):
        features.rows({**good, "seen": np.zeros((3, 3))}, [0, 0], [0, 0])
    with pytest.raises(SpaceError, match=r"q_max: expected 1 for each of 2 rows, got \[3\]"):
        features.rows(good, [0, 0], [0, 0, 0])
    with pytest.raises(SpaceError, match=r"action: expected 1 for each of 2 rows, got \[2, 2\]"):
        features.rows(good, [[0, 0], [0, 0]], [0, 0])
