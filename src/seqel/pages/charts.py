"""Charts as SVG, drawn for about 340 pixels of width, where their labels have the size of small text."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Place = Callable[[float, float], tuple[float, float]]  # numbers on the axes -> a point of the picture

__all__ = ["CHART_STYLE", "COLOURS", "Series", "chart", "histogram_chart", "legend", "number", "ticks"]

WIDTH, HEIGHT = 340, 210
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 8, 34
COLOURS = 6  # series of one chart that differ in colour
SHARE = 0.04  # of the range that is left free at each end of the vertical axis

CHART_STYLE = """
:root { --s0: #1f6fb2; --s1: #c2571a; --s2: #2e8b57; --s3: #8a4fa3; --s4: #a06a00; --s5: #5b6875; }
@media (prefers-color-scheme: dark) { :root { --s0: #5aa5e0; --s1: #f0935a; --s2: #62c08b; --s3: #c596da;
  --s4: #dcb04a; --s5: #a3afbb; } }
svg.chart text { fill: var(--soft); font-size: 11px; } svg.chart .axis { stroke: var(--line); }
svg.chart .ideal { stroke: var(--soft); stroke-dasharray: 4 3; } svg.chart path { fill: none; stroke-width: 1.8; }
svg.chart .dashed { stroke-dasharray: 4 3; } svg.chart .band { stroke: none; opacity: 0.18; }
svg.chart .dot { stroke: none; } svg.chart .faint { opacity: 0.35; }
.keys { display: flex; flex-wrap: wrap; gap: 0.2rem 1rem; color: var(--soft); font-size: 0.85rem; }
.keys i { display: inline-block; width: 0.8rem; height: 0.8rem; border-radius: 2px; margin-right: 0.35rem;
  vertical-align: -0.08rem; }
""" + "".join(
    f"svg.chart .l{n} {{ stroke: var(--s{n}); }} svg.chart .f{n} {{ fill: var(--s{n}); }} "
    f".keys .f{n} {{ background: var(--s{n}); }}\n"
    for n in range(COLOURS)
)


@dataclass(frozen=True, slots=True)
class Series:
    """One line, cloud of points, or both; points that are not finite interrupt the line."""

    points: Sequence[tuple[float, float]]
    name: str = ""
    band: Sequence[tuple[float, float, float]] = ()  # (x, low, high); entries that are not finite are left out
    colour: int = 0
    line: bool = True
    dots: bool = False
    faint: bool = False  # for many points
    dashed: bool = False


def chart(
    series: Sequence[Series],
    *,
    label: str,
    x: str,
    y: str,
    diagonal: bool = False,
    y_range: tuple[float, float] | None = None,
) -> str:
    """Return a chart of one or more series.

    Args:
        label: what the chart shows, for screen readers.
        x, y: names of the axes.
        diagonal: draw the line y = x.
        y_range: ends of the vertical axis; None: those of the data.
    """
    across = [at for one in series for at, *_ in (*one.points, *one.band)]
    up = [value for one in series for _, *values in (*one.points, *one.band) for value in values]
    low_x, high_x = _range(across)
    low_y, high_y = _range(up) if y_range is None else y_range
    if diagonal:
        low_y, high_y = min(low_x, low_y), max(high_x, high_y)
    if y_range is None:
        free = SHARE * (high_y - low_y)
        low_y, high_y = low_y - free, high_y + free

    def place(at: float, value: float) -> tuple[float, float]:
        return (
            LEFT + (WIDTH - LEFT - RIGHT) * (at - low_x) / (high_x - low_x),
            HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low_y) / (high_y - low_y),
        )

    drawn = [_axes((low_x, high_x), (low_y, high_y), x, y, place)]
    if diagonal:
        ends = max(low_x, low_y), min(high_x, high_y)
        (x1, y1), (x2, y2) = place(ends[0], ends[0]), place(ends[1], ends[1])
        drawn.append(f'<line class="ideal" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
    drawn.extend(_drawn(one, place) for one in series)
    return _svg(label, drawn)


def histogram_chart(counts: Sequence[int], edges: Sequence[float], *, label: str, x: str) -> str:
    """Return a histogram. edges: one more than the counts."""
    low, high, most = edges[0], edges[-1], max(counts, default=0) or 1
    wide = (high - low) or 1.0

    def place(at: float, value: float) -> tuple[float, float]:
        return (
            LEFT + (WIDTH - LEFT - RIGHT) * (at - low) / wide,
            HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / (1.08 * most),
        )

    drawn = [_axes((low, low + wide), (0, 1.08 * most), x, "episodes", place)]
    for count, start, end in zip(counts, edges[:-1], edges[1:], strict=True):
        (x1, top), (x2, bottom) = place(start, count), place(end, 0)
        text = escape(f"{number(start)} to {number(end)}: {count:,}")
        drawn.append(
            f'<rect class="f0" x="{x1 + 0.5:.1f}" y="{top:.1f}" width="{max(x2 - x1 - 1, 0.8):.1f}" '
            f'height="{bottom - top:.1f}"><title>{text}</title></rect>'
        )
    return _svg(label, drawn)


def legend(names: Iterable[tuple[int, str]]) -> str:
    """Return a legend of colours (number, name); the names are escaped."""
    keys = "".join(f'<span><i class="f{colour % COLOURS}"></i>{escape(name)}</span>' for colour, name in names)
    return f'<div class="keys">{keys}</div>'


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return at most `most` + 1 round numbers within low..high, a step of 1, 2, 2.5 or 5 times a power of ten apart."""
    span = high - low
    if not span > 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10, 20) if span / (power * factor) <= most)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """Return a number as a short text: 1.2k for thousands, 3M for millions."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):.3g}{unit}"
    return f"{value:.4g}"


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The smallest and largest finite value, a unit apart if they are equal; (0, 1) without any."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        room = 0.5 * (abs(low) or 1.0)
        return low - room, high + room
    return low, high


def _axes(across: tuple[float, float], up: tuple[float, float], x: str, y: str, place: Place) -> str:
    parts = []
    for value in ticks(*up):
        (left, at), (right, _) = place(across[0], value), place(across[1], value)
        parts.append(f'<line class="axis" x1="{left:.1f}" y1="{at:.1f}" x2="{right:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{at + 4:.1f}" text-anchor="end">{number(value)}</text>')
    for value in ticks(*across, most=4):
        at, bottom = place(value, up[0])
        anchor = "end" if at > WIDTH - 24 else "middle"
        parts.append(f'<text x="{at:.1f}" y="{bottom + 14:.1f}" text-anchor="{anchor}">{number(value)}</text>')
    middle = (HEIGHT - BOTTOM + TOP) / 2
    parts.append(f'<text x="{(WIDTH + LEFT) / 2:.0f}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x)}</text>')
    turn = f'transform="rotate(-90 11 {middle:.0f})"'
    parts.append(f'<text x="11" y="{middle:.0f}" text-anchor="middle" {turn}>{escape(y)}</text>')
    return "".join(parts)


def _drawn(one: Series, place: Place) -> str:
    colour, parts = one.colour % COLOURS, []
    band = [entry for entry in one.band if all(map(math.isfinite, entry))]
    if band:
        upper = [place(at, high) for at, _, high in band]
        lower = [place(at, low) for at, low, _ in reversed(band)]
        corners = " ".join(f"{px:.1f},{py:.1f}" for px, py in upper + lower)
        parts.append(f'<polygon class="band f{colour}" points="{corners}"/>')
    faint = " faint" if one.faint else ""
    if one.line:
        style = f"l{colour}{' dashed' if one.dashed else ''}{faint}"
        parts.append(f'<path class="{style}" d="{_path(one.points, place)}"/>')
    if one.dots:
        size = 1.6 if one.faint else 3
        for at, value in one.points:
            if math.isfinite(at) and math.isfinite(value):
                px, py = place(at, value)
                text = (
                    "" if one.faint else f"<title>{escape(f'{one.name} {number(at)}: {number(value)}'.strip())}</title>"
                )
                parts.append(
                    f'<circle class="dot f{colour}{faint}" cx="{px:.1f}" cy="{py:.1f}" r="{size}">{text}</circle>'
                )
    return "".join(parts)


def _path(points: Sequence[tuple[float, float]], place: Place) -> str:
    parts, lifted = [], True
    for at, value in points:
        if not (math.isfinite(at) and math.isfinite(value)):
            lifted = True
            continue
        px, py = place(at, value)
        parts.append(f"{'M' if lifted else 'L'}{px:.1f} {py:.1f}")
        lifted = False
    return "".join(parts)


def _svg(label: str, parts: Iterable[str]) -> str:
    name = escape(label, quote=True)
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">{"".join(parts)}</svg>'
