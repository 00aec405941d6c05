"""Frames survive encoding, equal ones are kept once, and a limit is obeyed and reported."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest

from seqel.explanation.pictures import encode_pictures

PIL = pytest.importorskip("PIL.Image")


def decoded(uri: str) -> np.ndarray:
    kind, data = uri.split(";base64,")
    assert kind in ("data:image/png", "data:image/jpeg")
    return np.asarray(PIL.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def test_plain_frames_are_exact_and_distinct() -> None:
    red, blue = (np.zeros((40, 60, 3), np.uint8) for _ in range(2))
    red[..., 0], blue[5:, ..., 2] = 200, 120
    found = encode_pictures([red, None, blue, red])
    assert found.shown == [0, None, 1, 0] and len(found.uris) == 2 and found.note == ""
    np.testing.assert_array_equal(decoded(found.uris[0]), red)
    np.testing.assert_array_equal(decoded(found.uris[1]), blue)
    assert encode_pictures([None]).uris == []


def test_frames_become_smaller_then_fewer() -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (330, 250, 3)).astype(np.uint8) for _ in range(6)]
    whole = encode_pictures(frames)
    assert max(decoded(whole.uris[0]).shape) == 320 and whole.note == ""
    size = sum(map(len, whole.uris))
    smaller = encode_pictures(frames, size // 2)
    assert len(smaller.uris) == 6 and "pixels" in smaller.note
    few = encode_pictures(frames, size // 40)
    assert len(few.uris) < 6 and "only one in" in few.note
    assert few.shown[0] == 0 and max(place for place in few.shown if place is not None) == len(few.uris) - 1
