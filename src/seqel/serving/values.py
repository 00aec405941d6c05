"""Reads plain values from requests. Raises InvalidRequest, which names the value, if one does not fit."""

from __future__ import annotations

import math
from typing import Any

from seqel.serving.errors import InvalidRequest

__all__ = ["read_number", "read_text", "read_whole"]


def read_number(name: str, value: Any) -> float:
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 3.4e38 or math.isnan(value):
        raise InvalidRequest(f"{name}: expected a finite number, got {value!r:.80}")
    return float(value)


def read_whole(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 62:
        raise InvalidRequest(f"{name}: expected a whole number from 0 on, got {value!r:.80}")
    return value


def read_text(name: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise InvalidRequest(f"{name}: expected a text, got {type(value).__name__}")
