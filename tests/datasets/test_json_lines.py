"""JSON lines: where each one is, what is left out, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqel.datasets.json_lines import json_lines
from seqel.errors import DataError


def test_lines_with_their_places(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    # a line separator of Unicode may stand in a text, and ends no line
    path.write_bytes(b"\xef\xbb\xbf1\n\n" + '  "x\u2028y"\r\n'.encode())
    assert list(json_lines([path], "a number")) == [
        (f"{path}, line 1", "1", 1),
        (f"{path}, line 3", '"x\u2028y"', "x\u2028y"),
    ]
    path.write_text("1\n{\n")
    with pytest.raises(DataError, match=r"line 2: expected a number, got '\{'"):
        list(json_lines([path], "a number"))
    for data in (b"\xff\n", None):
        path.unlink() if data is None else path.write_bytes(data)
        with pytest.raises(DataError, match="expected JSON lines in UTF-8"):
            list(json_lines([path], "a number"))
