"""Reads a CSV file of sentences with their labels; errors name the file, the columns that it has, and the line."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from seqel.errors import DataError

__all__ = ["read_columns"]


def read_columns(path: str | Path, columns: Sequence[str], encoding: str = "utf-8") -> list[dict[str, str]]:
    """Return the rows by column name, with the blanks around each value removed. Further columns are kept.

    A byte-order mark, as spreadsheets write it, is no part of the first name.

    Raises DataError if the file cannot be read, lacks one of the columns, or a row has no value in one of them (an empty one
    is a value).
    """
    expected = f"{path}: expected a CSV file with the columns {' and '.join(columns)}"
    rows: list[dict[str, str]] = []
    try:
        with Path(path).open(
            encoding="utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding, newline=""
        ) as file:
            table = csv.DictReader(file)
            names = list(table.fieldnames or [])
            for column in columns:
                if column not in names:
                    raise DataError(f"{expected}, got {', '.join(map(repr, names)) or 'an empty file'}")
            for row in table:
                for column in columns:
                    if row[column] is None:
                        raise DataError(
                            f"{path}, line {table.line_num}: expected a value in column {column!r}, got none"
                        )
                rows.append({name: value.strip() for name, value in row.items() if isinstance(value, str)})
    except FileNotFoundError as error:
        raise DataError(f"{expected}, but the file does not exist") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{expected} in the encoding {encoding}, but {error}; give the file's encoding") from error
    except (OSError, LookupError, csv.Error) as error:
        raise DataError(f"{expected}, but {error}") from error
    return rows
