"""Curves and times as text, for displays in a terminal. No torch here, so that a display's module loads quickly."""

from __future__ import annotations

__all__ = ["BARS", "duration", "sparkline"]

BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: list[float], share: bool = False) -> str:
    """A curve in one line; shares are drawn between 0 and 1, other values between their extremes."""
    if not values:
        return ""
    low, high = (0.0, 1.0) if share else (min(values), max(values))
    top = len(BARS) - 1
    return "".join(BARS[round((value - low) / (high - low) * top) if high > low else 0] for value in values)


def duration(seconds: float) -> str:
    """90 -> "1:30"."""
    whole = int(max(0.0, min(seconds, 359_999)))
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
