"""Reads a file of JSON lines one by one, so that an error can name the line.

For tables, which are read in large pieces and by several cores, see `seqel.datasets.reading`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from seqel.errors import DataError

__all__ = ["json_lines"]


def json_lines(files: Sequence[str | Path], what: str) -> Iterator[tuple[str, str, Any]]:
    """Yield where each line is ("FILE, line 3"), the line, and its value; empty lines are left out.

    what: what a line should be, for the errors. Raises DataError if a file cannot be read, or a line is no JSON.
    """
    for file in files:
        try:
            with Path(file).open(encoding="utf-8-sig") as lines:
                for number, line in enumerate(lines, 1):
                    line = line.strip()
                    if not line:
                        continue
                    where = f"{file}, line {number}"
                    try:
                        value = json.loads(line)
                    except ValueError as error:
                        raise DataError(f"{where}: expected {what}, got {line!r:.80}: {error}") from error
                    yield where, line, value
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{file}: expected JSON lines in UTF-8, but {error}") from error
