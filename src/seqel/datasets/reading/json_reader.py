"""Reads JSON lines, one object per line: by polars, or line by line to find an invalid line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from seqel.datasets.reading.chunks import Chunk, chunks, share
from seqel.datasets.reading.frames import Frame, Role, lines, not_utf8
from seqel.errors import DataError
from seqel.extras import require

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from polars import DataFrame

__all__ = ["JsonSource"]

PEEK = 1_000  # lines whose keys give the columns


class JsonSource:
    """A file with one JSON object per line."""

    unit = "line"

    def __init__(self, path: Path) -> None:
        self.path = path
        first = next(chunks(path, quotes=False), None)
        if first is None or not first.data.strip():
            raise DataError(f"{path} is empty: expected one JSON object per line and one line per step")
        self._first = first
        found: dict[str, None] = {}
        for number, line in enumerate(first.data.split(b"\n", PEEK)[:PEEK]):
            if line.strip():
                found |= dict.fromkeys(self._parsed(line, first.line + number))
        self.columns = list(found)
        self._types: dict[str, Any] = {}

    def look_for(self, column: str) -> bool:
        """Return whether a column that is not in the first lines occurs later: JSON may omit missing values."""
        name = json.dumps(column).encode(), json.dumps(column, ensure_ascii=False).encode()
        return any(part in piece.data for piece in chunks(self.path, quotes=False) for part in name)

    def frames(self, roles: Mapping[str, Role]) -> Iterator[Frame]:
        self._types = {}
        for piece in chunks(self.path, quotes=False):
            rows = self._frame(piece, roles)
            if rows.height:
                yield Frame(rows, piece.line, piece.offset, share(self.path, piece))

    def _frame(self, piece: Chunk, roles: Mapping[str, Role]) -> DataFrame:
        pl = require("polars")
        lists = pl.List(pl.Float64)
        asked = {"number": pl.Float64, "whole": pl.Int64, "list": lists, "lists": pl.List(lists)}
        types = self._types or {name: asked.get(role, pl.String) for name, role in roles.items()}
        if not piece.data.strip():
            return pl.DataFrame(schema=types)  # type: ignore[no-any-return]
        for attempt in (types, dict.fromkeys(roles, pl.String)):
            try:
                rows: DataFrame = pl.read_ndjson(piece.data, schema=attempt)
            except pl.exceptions.PolarsError as error:
                if attempt is types:
                    self._types = {
                        name: pl.String if found in (pl.Int64, lists, pl.List(lists)) else found
                        for name, found in types.items()
                    }
                    continue
                raise self._explain(piece, str(error).split("\n")[0]) from error
            if rows.height != len(_filled(piece.data)):
                break
            return rows.select(list(roles))
        raise self._explain(piece, "expected one JSON object per line")

    def _explain(self, piece: Chunk, reason: str) -> DataError:
        for number, line in enumerate(piece.data.split(b"\n")):
            if line.strip():
                self._parsed(line, piece.line + number)
        last = piece.line + max(0, lines(piece.data) - 1)
        return DataError(f"{self.path}, somewhere in lines {piece.line:,} to {last:,}: not valid JSON lines: {reason}")

    def _parsed(self, line: bytes, number: int) -> dict[str, Any]:
        where = f"{self.path}, line {number}"

        def constant(text: str) -> None:
            raise ValueError(f"{text} is not JSON; write null for a missing value")

        try:
            value = json.loads(line.decode(), parse_constant=constant)
        except UnicodeDecodeError as error:
            raise not_utf8(self.path, number, "", error) from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: expected a JSON object, got {line[:80]!r}: {error}") from error
        if not isinstance(value, dict):
            raise DataError(f'{where}: expected a JSON object such as {{"session": 1, ...}}, got {line[:80]!r}')
        return value

    def locate(self, frame: Frame, row: int) -> int:
        for piece in chunks(self.path, quotes=False, offset=frame.offset, line=frame.line):
            filled = _filled(piece.data)
            if row < len(filled):
                return piece.line + filled[row]
            row -= len(filled)
        return 0


def _filled(data: bytes) -> range | list[int]:
    """Return the numbers, from 0, of the lines that are not blank."""
    if b"\n\n" not in data and b"\n\r" not in data and b"\n " not in data and not data[:1].isspace():
        return range(lines(data))
    return [number for number, line in enumerate(data.split(b"\n")) if line.strip()]
