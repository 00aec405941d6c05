from __future__ import annotations

import math
from pathlib import Path

import pytest

from seqel.language.decoding import Written
from seqel.language.frontier import _point, draw_frontier, frontier
from support_text import agent


def test_figures_by_hand() -> None:
    """Texts 2 3 2 3 2 3 and 4: five pairs of which two differ, and three sequences of four of which one is repeated."""
    texts = [Written([2, 3, 2, 3, 2, 3], True, 1.0, -7.0), Written([4], False, 3.0, -1.0)]
    point = _point("dial 1", 1.0, 1, [0.0, 1.0], 2.0, texts)
    assert point.reward == 0.5 and point.kl == 2.0
    assert point.perplexity == pytest.approx(math.exp(8.0 / 8.0))
    assert point.distinct == pytest.approx(2 / 5)
    assert point.repetition == pytest.approx(1 / 3)


def test_points_of_dials_and_of_the_best_of_several(tmp_path: Path) -> None:
    writer = agent()
    prompts = ["a", "b", ""] * 20
    points = frontier(writer, prompts, lambda text: float(text.count("c")), dials=(0.0, 2.0), best_of=(2, 4), length=5)
    assert [point.name for point in points] == ["dial 0", "dial 2", "best of 2", "best of 4"]
    assert points[0].kl == 0.0 < points[1].kl
    assert points[2].kl == pytest.approx(math.log(2) - 0.5) and points[3].texts == 4
    assert points[0].reward < points[2].reward < points[3].reward
    assert points == frontier(
        writer, prompts, lambda text: float(text.count("c")), dials=(0.0, 2.0), best_of=(2, 4), length=5
    )
    draw_frontier(points, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
