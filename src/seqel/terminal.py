"""Curves and times as text, for displays in a terminal. Does not import torch, so that displays load quickly."""

from __future__ import annotations

from pathlib import Path

__all__ = ["BARS", "PLAIN_EVERY", "below_here", "duration", "percent", "sparkline", "summary_line"]

PLAIN_EVERY = 10.0  # seconds between lines if standard error is not a terminal
BARS = "▁▂▃▄▅▆▇█"


def below_here(path: Path) -> Path:
    """Return a path as it is shown: relative if it is below the current directory."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def sparkline(values: list[float], share: bool = False) -> str:
    """Draw a curve in one line; shares are drawn between 0 and 1, other values between their extremes."""
    if not values:
        return ""
    low, high = (0.0, 1.0) if share else (min(values), max(values))
    top = len(BARS) - 1
    return "".join(BARS[round((value - low) / (high - low) * top) if high > low else 0] for value in values)


def summary_line(values: list[float], width: int = 60, share: bool = False) -> str:
    """Draw a whole curve in one line, with its first, highest and last value. More than `width` values are thinned out."""
    if not values:
        return ""
    count = min(len(values), width)
    shown = [values[round(n * (len(values) - 1) / max(count - 1, 1))] for n in range(count)]
    show = "{:.0%}" if share else "{:.4g}"
    first, highest, last = (show.format(value) for value in (values[0], max(values), values[-1]))
    return f"{sparkline(shown, share)}  first {first}, highest {highest}, last {last}"


def duration(seconds: float) -> str:
    """Format seconds: 90 -> "1:30"."""
    whole = int(max(0.0, min(seconds, 359_999)))
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def percent(share: float) -> str:
    """Format a share: 0.125 -> "12%"; below one percent with two decimals, 0.0024 -> "0.24%"."""
    return f"{share:.0%}" if share >= 0.01 or share == 0.0 else f"{share:.2%}"
