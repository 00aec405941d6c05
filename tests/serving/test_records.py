"""Steps become bytes and come back as they were."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from seqel.errors import StorageError
from seqel.serving.records import StepFormat
from seqel.spaces import ActionSpec, ObservationSpec

SPACE = gym.spaces.Dict({"place": gym.spaces.Box(-1, 1, (2,), np.float32), "room": gym.spaces.Discrete(4, start=3)})


def test_records_come_back_as_they_were() -> None:
    spec = ObservationSpec.from_space(SPACE)
    form = StepFormat(spec, ActionSpec((3, 2), (0, 0)))
    records = []
    for step in range(3):
        seen = spec.flatten({"place": np.array([step, -step], np.float32) / 4, "room": 3 + step}, None)
        record = form.of(seen)
        record["action"], record["previous_reward"] = (step % 3, step % 2), step / 2
        records.append(record.tobytes())
    found = form.join(records)
    np.testing.assert_array_equal(found["action"], [[0, 0], [1, 1], [2, 0]])
    np.testing.assert_array_equal(found["previous_reward"], np.array([0, 0.5, 1], np.float32))
    observed = form.observation(found)
    np.testing.assert_array_equal(observed["place"], np.array([[0, 0], [0.25, -0.25], [0.5, -0.5]], np.float32))
    assert observed["room"].ravel().tolist() == [0, 1, 2]
    assert {path: leaf.dtype for path, leaf in observed.items()} == {
        path: dtype for path, (_, dtype) in spec.storage.items()
    }


def test_no_record_is_an_empty_history() -> None:
    form = StepFormat(ObservationSpec.from_space(SPACE), ActionSpec((2,), (0,)))
    assert len(form.join([])) == 0


def test_records_of_other_observations_are_refused() -> None:
    form = StepFormat(ObservationSpec.from_space(SPACE), ActionSpec((2,), (0,)))
    with pytest.raises(StorageError, match="expected records of"):
        form.join([b"x" * (form.dtype.itemsize + 1)])
