"""The onnxruntime backend: batches share their memory, and only slots that were used are cleared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from seqel.serving.backends.base import Inputs
from seqel.serving.backends.onnx_agent import OnnxBackend
from seqel.spaces import FlatObservation

SLOTS = 20


def inputs_of(rows: int, first: bool | list[bool], rng: np.random.Generator) -> Inputs:
    return Inputs(
        FlatObservation({"observation": rng.standard_normal((rows, 3)).astype(np.float32)}),
        rng.integers(3, size=(rows, 1)),
        rng.standard_normal(rows).astype(np.float32),
        np.broadcast_to(np.array(first), (rows,)).copy(),
        np.ones((rows, 1, 3), bool),
    )


def test_batches_of_any_size_share_memory_and_decide_the_same(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit as with new arrays for each batch."""
    ours, plain = OnnxBackend(pair.file, SLOTS), OnnxBackend(pair.file, SLOTS)
    monkeypatch.setattr(plain, "_batch_of", plain.layout.empty)
    order = np.random.default_rng(0)
    seen: list[NDArray[Any]] = []
    for number, rows in enumerate((3, 1, 20, 5, 3, 8, 20, 1, 9)):
        slots = order.permutation(SLOTS)[:rows]
        first = number < 3 or (order.random(rows) < 0.2).tolist()
        scores = [one.step(slots, inputs_of(rows, first, np.random.default_rng(number))) for one in (ours, plain)]
        assert np.array_equal(scores[0], scores[1])
        seen.append(ours._batch_of(rows)["keys"])
        assert seen[-1].flags.c_contiguous
    assert np.shares_memory(seen[2], seen[-1])
    for name, array in ours._arrays.items():
        assert np.array_equal(array, plain._arrays[name])


def test_a_slot_that_was_used_is_cleared_and_no_other(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, rng = OnnxBackend(pair.file, SLOTS), np.random.default_rng(0)
    cleared: list[list[int]] = []
    genuine = backend.layout.__class__.clear

    def clear(layout: Any, arrays: Any, rows: NDArray[np.int64]) -> None:
        cleared.append(rows.tolist())
        genuine(layout, arrays, rows)

    monkeypatch.setattr(backend.layout.__class__, "clear", clear)
    slots = np.array([3, 7])
    new = backend.step(slots, inputs_of(2, True, np.random.default_rng(1)))
    for _ in range(3):
        backend.step(slots, inputs_of(2, False, rng))
    for array in backend._arrays.values():
        array[:, 3] = np.nan  # of an agent whose weights went wrong
    again = backend.step(slots[::-1], inputs_of(2, True, np.random.default_rng(1)))
    assert cleared == [[], [7, 3]]
    assert np.array_equal(new, again)
