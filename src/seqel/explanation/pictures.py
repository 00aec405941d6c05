"""Frames as data URIs, within a limit of bytes: equal ones once, those of few colours as PNG, others as JPEG."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pictures", "encode_pictures"]

LIMIT = 3_500_000  # characters of all data URIs together
COLOURS = 128
SIZES = ((320, 85), (240, 70), (160, 60))  # largest side in pixels, quality of JPEG; the first that fits


@dataclass(frozen=True, slots=True)
class Pictures:
    """Distinct pictures, and which of them each step shows."""

    uris: list[str] = field(default_factory=list)
    shown: list[int | None] = field(default_factory=list)  # by step; None: there is no frame
    note: str = ""  # what was changed to stay within the limit


def encode_pictures(frames: Sequence[NDArray[np.uint8] | None], limit: int = LIMIT) -> Pictures:
    """Encode frames (height, width, 3), or None where there is none.

    If they are too large even at the smallest size, every second, third ... frame is kept, and the note says so.
    """
    distinct: dict[bytes, int] = {}
    kept: list[NDArray[np.uint8]] = []
    shown: list[int | None] = []
    for frame in frames:
        if frame is None:
            shown.append(None)
            continue
        key = repr(frame.shape).encode() + frame.tobytes()
        if key not in distinct:
            distinct[key] = len(kept)
            kept.append(frame)
        shown.append(distinct[key])
    if not kept:
        return Pictures([], shown)
    uris: list[str] = []
    for number, (side, quality) in enumerate(SIZES):
        uris = [_uri(frame, side, quality) for frame in kept]
        if sum(map(len, uris)) <= limit:
            return Pictures(uris, shown, f"Frames are at most {side} pixels wide and high." if number else "")
    every = -(-sum(map(len, uris)) // limit)
    places = list(range(0, len(uris), every))
    note = f"Frames are at most {SIZES[-1][0]} pixels wide and high, and only one in {every} is kept."
    return Pictures([uris[place] for place in places], [None if one is None else one // every for one in shown], note)


def _uri(frame: NDArray[np.uint8], side: int, quality: int) -> str:
    from PIL import Image

    picture = Image.fromarray(frame)
    picture.thumbnail((side, side))
    kind, data = "jpeg", _bytes(picture, "JPEG", quality=quality)
    if picture.getcolors(COLOURS) is not None:  # drawn, not photographed: small as PNG, and exact
        png = _bytes(picture.quantize(COLOURS), "PNG")
        if len(png) <= 2 * len(data):
            kind, data = "png", png
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _bytes(picture: Any, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()
