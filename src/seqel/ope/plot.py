"""Plots the estimated values of policies with their 95 % intervals, next to the recorded policy."""

from __future__ import annotations

import io
import textwrap
import unicodedata
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from seqel.storage import atomic_write

if TYPE_CHECKING:
    from seqel.ope.estimation import OffPolicyEvaluation

__all__ = ["draw_estimate"]

WIDEST = 40  # characters of a label
# fonts with other scripts that systems commonly have, after the one that matplotlib ships
FONTS = (
    "DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Source Han Sans SC", "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei", "Droid Sans Fallback", "PingFang SC", "Hiragino Sans", "Microsoft YaHei", "Yu Gothic",
    "Malgun Gothic", "Arial Unicode MS", "Noto Sans Devanagari", "Noto Sans Thai", "Noto Emoji", "Symbola",
)  # fmt: skip
AGENT, OTHER, DOUBTFUL = "#1f6fb2", "#4a5568", "#b8c2cc"


def draw_estimate(evaluation: OffPolicyEvaluation, path: Path, title: str) -> None:
    """Write a PNG. The first policy is the agent; unsupported estimates are pale, with the reason. Raises StorageError."""
    from matplotlib.figure import Figure  # no pyplot: nothing global, no window, no display needed

    first, *others = evaluation.policies
    rows = [first, *sorted(others, key=lambda row: -row.value.value)]
    families, known = _installed()
    names = [_label(_escaped(row.name, known), None if row.supported else row.reason) for row in rows]
    lines = sum(name.count("\n") + 1 for name in names)
    figure = Figure(figsize=(7.2, 0.22 * lines + 0.12 * len(rows) + 1.7), layout="constrained")
    axis = figure.subplots()
    figure.suptitle(_shortened(_escaped(title, known)), fontsize=11, fontfamily=families, parse_math=False)
    own = evaluation.recorded.value
    axis.axvspan(own.low, own.high, color="#2e8b57", alpha=0.15, lw=0)
    axis.axvline(own.value, color="#2e8b57", lw=1, label=f"as recorded: {own.value:.4g}")
    for place, row in enumerate(rows):
        value = row.value
        colour = DOUBTFUL if not row.supported else AGENT if place == 0 else OTHER
        axis.plot([value.low, value.high], [place, place], color=colour, lw=1.6)
        axis.plot([value.value], [place], color=colour, marker="o", ms=5)
    axis.set_yticks(range(len(rows)), names, fontsize=8, fontfamily=families, parse_math=False)
    axis.invert_yaxis()
    axis.set_xlabel(f"discounted return of a session (discount {evaluation.discount:g}), 95 % interval")
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(fontsize=8, frameon=False, loc="outside lower right")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    atomic_write(path, picture.getvalue())


def _label(name: str, reason: str | None) -> str:
    """A policy's name and, below it, why its estimate is not supported, in lines of at most `WIDEST` characters."""
    wide = any(unicodedata.east_asian_width(character) in "WF" for character in name)  # two columns each
    lines = textwrap.wrap(name, WIDEST // 2 if wide else WIDEST)[:2]
    if reason:
        lines += textwrap.wrap(f"(?) {reason}", WIDEST)
    return "\n".join(lines)


@cache
def _installed() -> tuple[list[str], frozenset[int]]:
    """Return those of FONTS that this machine has, and the code points of all characters in them."""
    from matplotlib import font_manager

    names = {font.name for font in font_manager.fontManager.ttflist}
    found = [name for name in FONTS if name in names]
    fonts = [font_manager.get_font(font_manager.findfont(name)) for name in found]
    return found, frozenset(code for font in fonts for code in font.get_charmap())


def _escaped(text: str, known: frozenset[int]) -> str:
    """Replace characters that no installed font has by their escape, such as \\u4e2d."""
    return "".join(
        character if ord(character) in known or character.isspace() else character.encode("unicode_escape").decode()
        for character in text
    )


def _shortened(text: str, most: int = 70) -> str:
    """A path's end, where it is too long for a title."""
    return text if len(text) <= most else f"...{text[-most:]}"
