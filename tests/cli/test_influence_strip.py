"""The strip fits its terminal and points at the right block."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqel.cli.influence_strip import Strip, picture, text


def strip_of(steps: int, at: int) -> Strip:
    weights = [0.01] * steps
    weights[at] = 0.9
    return Strip(weights, at, "the cue, long ago", "the choice: up")


@pytest.mark.parametrize(("steps", "at"), [(11, 0), (51, 0), (51, 49), (501, 0), (501, 499), (501, 250)])
@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_arrow_is_below_the_brightest_block(steps: int, at: int, width: int) -> None:
    blocks, arrow = text(strip_of(steps, at), width).plain.split("\n")
    assert len(blocks) <= width and len(arrow) <= width
    assert blocks.count("█") == 1
    assert blocks.index("█") == arrow.index("↑")
    assert "the cue, long ago" in arrow and blocks.endswith("the choice: up")


def test_an_image_is_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "demo.png"
    picture(path, "title", {"with": [(1, 0.0), (2, 1.0)], "without": []}, strip_of(21, 0), "caption")
    assert path.read_bytes().startswith(b"\x89PNG")
