"""Episodes in files that open at once: one raw file a column, read by mapping it into memory.

    meta.json      what it was made from (files, schema), the columns, what the import found
    encoding.json  vocabularies: how a raw row becomes an observation
    NN.bin         a column of the layout, row-major, a row a slot
    episodes.npy   (episodes, 5) slot, length, start, terminated, previous action
    names.bin, name_ends.npy, hashes.npy    the sessions' names and hashes, by which they are ordered

The order is that of the sessions' hashes: the same whatever the order and format of the files, and any stretch of it is
a fair sample of the sessions.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.datasets.encoding import Encoding
from seqel.datasets.importing.episodes import Counts, assemble
from seqel.datasets.importing.rows import import_rows
from seqel.datasets.reading.table import Table
from seqel.errors import DataError
from seqel.extras import require
from seqel.replay.layout import Layout
from seqel.storage import atomic_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from seqel.datasets.importing.rows import Imported
    from seqel.datasets.schema import Schema

__all__ = ["VERSION", "build", "layout_of", "open_columns", "read_meta"]

VERSION = 1
META, ENCODING = "meta.json", "encoding.json"


def layout_of(encoding: Encoding) -> Layout:
    """What a step of the dataset holds."""
    return Layout(encoding.observation.storage, len(encoding.actions), masked=encoding.schema.masked, recorded=True)


def build(
    directory: Path,
    files: Sequence[Path],
    schema: Schema,
    made_from: dict[str, Any],
    progress: Callable[[float], None] | None = None,
) -> None:
    """Import the files into a new store, in place of an old one. A failure leaves the old one untouched.

    Raises:
        DataError: from the import, or when nothing is left to learn from.
        StorageError: the disk is full or not writable.
    """
    with atomic_directory(directory, replace=True) as temporary:
        buckets = temporary / "buckets"
        buckets.mkdir()
        table = Table(files)
        imported = import_rows(table, schema, buckets, progress)
        report = _write(temporary, imported, table)
        buckets.rmdir()
        meta = {"format": "seqel-dataset", "version": VERSION, "made_from": made_from, **report}
        (temporary / ENCODING).write_text(json.dumps(imported.encoding.to_json(), ensure_ascii=False), encoding="utf-8")
        (temporary / META).write_text(json.dumps(meta, ensure_ascii=False, indent=1), encoding="utf-8")


def _write(directory: Path, imported: Imported, table: Table) -> dict[str, Any]:
    """Bucket after bucket, appended to the files of the columns."""
    layout = layout_of(imported.encoding)
    columns = layout.columns()
    by_hash = np.argsort(imported.session_hash, kind="stable")
    rank = np.empty(len(by_hash), np.int64)
    rank[by_hash] = np.arange(len(by_hash))
    counts, slots = Counts(), 0
    numbers: list[NDArray[np.int64]] = []
    sessions: list[NDArray[np.int64]] = []
    files = {name: (directory / f"{place:02}.bin") for place, name in enumerate(columns)}
    for path in files.values():
        path.touch()
    for bucket in imported.buckets:
        if not bucket.exists():
            continue
        records = np.fromfile(bucket, imported.record)
        bucket.unlink()
        found = assemble(records, rank, imported, counts, table.place)
        del records
        for name, (shape, dtype) in columns.items():
            array = np.ascontiguousarray(found.columns[name], dtype)
            assert array.shape[1:] == shape, name
            with files[name].open("ab") as file:
                array.tofile(file)
        begin = slots + np.cumsum(found.length + 1) - found.length - 1
        zeros = np.zeros(len(begin), np.int64)
        numbers.append(np.column_stack([begin, found.length, zeros, found.terminated, zeros]))
        sessions.append(found.sessions)
        slots += int((found.length + 1).sum())
    if not slots:
        raise DataError(
            f"no transition is left of {imported.rows:,} rows: each of the {len(rank):,} sessions has a single row and was "
            'cut off there (ends = "truncated", or its terminated column says no): is the session column right?'
        )
    _write_sessions(directory, imported, np.concatenate(numbers), np.concatenate(sessions))
    report = {"rows": imported.rows, "table_sessions": len(rank), **asdict(counts), "missing": imported.missing}
    if counts.first_duplicate is not None:
        one, two, name = counts.first_duplicate
        report["first_duplicate"] = f"{table.place(one)} and {table.place(two)} (session {name!r})"
    report["action_counts"] = imported.action_counts.tolist()
    report["rare"] = {name: int((found < RARE).sum()) for name, found in imported.frequencies.items()}
    report["categories"] = {name: len(found) for name, found in imported.frequencies.items()}
    kept = {
        name: {"file": files[name].name, "shape": list(shape), "dtype": dtype.str}
        for name, (shape, dtype) in columns.items()
    }
    return {"slots": slots, "columns": kept, "report": report}


RARE = 5  # a category that occurs less often than that says little


def _write_sessions(
    directory: Path, imported: Imported, numbers: NDArray[np.int64], sessions: NDArray[np.int64]
) -> None:
    np.save(directory / "episodes.npy", numbers)
    np.save(directory / "hashes.npy", imported.session_hash[sessions])
    names = imported.sessions.gather(sessions)
    sizes = names.str.len_bytes().cast(require("polars").Int64).to_numpy()
    np.save(directory / "name_ends.npy", np.cumsum(sizes))
    (directory / "names.bin").write_bytes(names.str.join("").item().encode())


def read_meta(directory: Path, made_from: dict[str, Any]) -> dict[str, Any] | None:
    """The store's facts; None where there is none that was made from exactly this, whole, by this version."""
    try:
        meta: dict[str, Any] = json.loads((directory / META).read_text(encoding="utf-8"))
        if (meta["format"], meta["version"], meta["made_from"]) != ("seqel-dataset", VERSION, made_from):
            return None
        for column in meta["columns"].values():
            size = meta["slots"] * int(np.prod(column["shape"], dtype=np.int64)) * np.dtype(column["dtype"]).itemsize
            if (directory / column["file"]).stat().st_size != size:
                return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return meta


def open_columns(directory: Path, meta: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """The columns, mapped, each (slots, *shape)."""
    return {
        name: np.memmap(
            directory / column["file"], np.dtype(column["dtype"]), "r", shape=(meta["slots"], *column["shape"])
        )
        for name, column in meta["columns"].items()
    }
