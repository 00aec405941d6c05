"""Logs as JSON lines: one object per event, with the id of the request where there is one."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import suppress
from typing import Any, BinaryIO

import orjson

__all__ = ["JsonLog"]

LEVELS = ("debug", "info", "warning", "error")


class JsonLog:
    """Writes events to a stream, standard error by default. Events below `level` are left out."""

    def __init__(self, stream: BinaryIO | None = None, level: str = "info") -> None:
        self._stream, self._least, self._lock = stream or sys.stderr.buffer, LEVELS.index(level), threading.Lock()

    def writes(self, level: str) -> bool:
        """Return whether events of a level are written."""
        return LEVELS.index(level) >= self._least

    def write(self, level: str, event: str, **more: Any) -> None:
        """Write one event; a stream that is closed or full loses it, and the service goes its way."""
        if not self.writes(level):
            return
        line = orjson.dumps({"time": round(time.time(), 6), "level": level, "event": event} | more) + b"\n"
        with suppress(OSError, ValueError), self._lock:
            self._stream.write(line)
            self._stream.flush()
