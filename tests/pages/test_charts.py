"""Charts: where points are drawn, which ticks they have, and that texts are escaped."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree as ET

import pytest

from seqel.pages.charts import CHART_STYLE, COLOURS, Series, chart, histogram_chart, legend, number, ticks
from seqel.pages.frame import fact_boxes, page


def test_ticks_are_round_and_within_the_range() -> None:
    assert ticks(0, 1) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(-3, 97, most=4) == [0.0, 25.0, 50.0, 75.0]
    assert ticks(5, 5) == [5]


@pytest.mark.parametrize(("low", "high"), [(0.0, 1e-6), (-1e9, 3e9), (0.1, 0.13), (99.0, 101.0)])
def test_there_are_always_a_few_ticks(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 6 and all(low <= one <= high for one in found)


def test_numbers_are_short() -> None:
    assert [number(n) for n in (0.5, 1234, 40_000, 2_500_000, 3e9)] == ["0.5", "1234", "40k", "2.5M", "3G"]


def test_a_point_is_drawn_in_proportion_to_the_axes() -> None:
    drawn = chart(
        [Series([(0, 0), (1, 1), (0.5, 0.5)], line=False, dots=True)], label="x", x="x", y="y", y_range=(0.0, 1.0)
    )
    centres = [tuple(map(float, pair)) for pair in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', drawn)]
    (x0, y0), (x1, y1), middle = centres
    assert x0 < x1 and y0 > y1, "up is larger"
    assert middle == pytest.approx(((x0 + x1) / 2, (y0 + y1) / 2), abs=0.1)


def test_a_gap_interrupts_the_line_and_the_band() -> None:
    series = Series([(0, 0), (1, math.nan), (2, 1), (3, 1)], band=[(0, 0, 1), (1, math.nan, 1), (2, 0, 1)])
    drawn = chart([series], label="x", x="x", y="y")
    path = re.search(r' d="([^"]*)"', drawn)
    assert path is not None and path[1].count("M") == 2 and path[1].count("L") == 1
    assert "nan" not in drawn


def test_a_chart_is_well_formed_whatever_the_names() -> None:
    drawn = chart([Series([(0, 1)], "<b>&", dots=True)], label='"<&', x="<x>", y="&y", diagonal=True)
    ET.fromstring(drawn)
    assert "<b>" not in drawn and "<x>" not in drawn
    ET.fromstring(histogram_chart([1, 0, 3], [0, 1, 2, 3], label="<", x="&"))
    ET.fromstring(chart([Series([])], label="nothing", x="x", y="y"))
    assert "&lt;i&gt;" in legend([(COLOURS, "<i>")])
    assert "&lt;i&gt;" in fact_boxes({"<i>": "1"})


def test_the_bars_of_a_histogram_are_as_tall_as_their_counts() -> None:
    drawn = histogram_chart([1, 4], [0, 1, 2], label="x", x="x")
    one, four = (float(tall) for tall in re.findall(r'height="([\d.]+)"', drawn))
    assert four == pytest.approx(4 * one, rel=0.01)


def test_a_page_asks_for_nothing() -> None:
    made = page("<t>", ["<p>body</p>"], CHART_STYLE)
    assert "default-src 'none'" in made and "<title>&lt;t&gt;</title>" in made
    assert not re.search(r"https?://|@import|url\(|<script", made)
