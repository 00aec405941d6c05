"""tools/prose.py finds planted wordings and leaves plain English alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools" / "prose.py"


def check(*files: Path) -> tuple[int, str]:
    done = subprocess.run([sys.executable, str(TOOL), *map(str, files)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_planted_wordings_are_found_in_docstrings_comments_strings_names_and_pages(tmp_path: Path) -> None:
    code, page = tmp_path / "code.py", tmp_path / "page.md"
    code.write_text(
        '"""A table with a row a step."""\n'
        "x = 1  # the keys are computed anew\n"
        'message = f"expected a number, came {x}"\n'
        "def test_two_rows_are_told_apart(): ...\n"
    )
    page.write_text("Plain.\n\n```text\na row a step\n```\n\nOnce per batch, a row a step.\n")
    status, found = check(code, page)
    assert status == 1
    for place in ("code.py:1:", "code.py:2:", "code.py:3:", "code.py:4:", "page.md:7:"):
        assert place in found
    assert "page.md:4:" not in found


def test_plain_english_passes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("The table has one row per step. The keys are recomputed. Expected a number, got 3.\n")
    assert check(page) == (0, "")


def test_the_pages_are_clean() -> None:
    root = TOOL.parents[1]
    pages = [
        *sorted((root / "docs").rglob("*.md")),
        *(root / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")),
    ]
    status, found = check(*pages)
    assert status == 0, found
