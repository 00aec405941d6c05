from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from seqel.datasets.schema import Schema

SAYS = ["hi", "你好 😀", "", 'a "b", c']
ROWS: list[dict[str, Any]] = [
    {"who": who, "step": step, "x": 10.0 * step + len(who), "kind": kind, "say": say, "do": do, "gain": 0.5 * step}
    for who, steps in (("ann", 3), ("bo", 1), ("cé", 4))
    for step, kind, say, do in zip(
        range(steps),
        ["red", "blue", "red", "黄"],
        SAYS,
        ["go", "stay", "go", "go"],
        strict=False,
    )
]


class Tables:
    """Writes tables into a test's directory."""

    rows = ROWS

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def schema(self, **changes: Any) -> Schema:
        base: dict[str, Any] = {
            "session": "who", "order": "step", "action": "do", "reward": "gain",
            "observation": {"x": "number", "kind": "category", "say": "text"},
        }  # fmt: skip
        return Schema.from_json({**base, **changes})

    def text(self, content: str | bytes, name: str = "t.csv") -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    def csv(self, rows: list[dict[str, Any]], name: str = "t.csv") -> Path:
        return self.text(pl.DataFrame(rows).write_csv(), name)

    def jsonl(self, rows: list[dict[str, Any]], name: str = "t.jsonl") -> Path:
        return self.text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", name)

    def parquet(self, rows: list[dict[str, Any]], name: str = "t.parquet") -> Path:
        path = self.directory / name
        pl.DataFrame(rows).write_parquet(path)
        return path


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(tmp_path)
