"""The store of an imported table: one raw file per column, which is mapped into memory when the store is opened.

    meta.json      what it was made from (files, schema), the columns, the import's report; size and CRC-32 of every file,
                   including its own content
    encoding.json  vocabularies: how a raw row becomes an observation
    reader.json    how texts are read, such as their vocabulary
    NN.bin         a column of the layout, row-major, one row per slot
    episodes.npy   (episodes, 4 + M) slot, length, start, terminated, previous action
    names.bin, name_ends.npy, hashes.npy    names and hashes of the sessions

Sessions are ordered by their hashes. This order does not depend on the order and format of the files, and any consecutive
part of it is a random sample of the sessions.
"""

from __future__ import annotations

import json
import re
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.datasets.encoding import Encoding
from seqel.datasets.importing.episodes import Counts, assemble
from seqel.datasets.importing.rows import import_rows
from seqel.datasets.reading.table import Table
from seqel.datasets.text_columns import sample_texts
from seqel.errors import CheckpointError, DataError
from seqel.extras import require
from seqel.integrity import checksum, crc32, require_own
from seqel.replay.layout import Layout
from seqel.spaces.text_readers import HashedReader, TextReader, register
from seqel.storage import atomic_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from seqel.datasets.importing.rows import Imported
    from seqel.datasets.schema import Schema
    from seqel.texts.config import TextConfig

__all__ = ["VERSION", "build", "layout_of", "open_columns", "read_meta"]

VERSION = 5
META, ENCODING = "meta.json", "encoding.json"
READER = "reader.json"  # how texts are read, if not as hashed trigrams
SIDE = (
    ENCODING,
    READER,
    "episodes.npy",
    "hashes.npy",
    "name_ends.npy",
    "names.bin",
)  # all files but meta.json and the columns


def layout_of(encoding: Encoding) -> Layout:
    """Return the layout of a step of the dataset."""
    action = encoding.action
    return Layout(encoding.observation.storage, action.actions, action.dims, encoding.schema.masked, recorded=True)


def build(
    directory: Path,
    files: Sequence[Path],
    schema: Schema,
    made_from: dict[str, Any],
    progress: Callable[[float], None] | None = None,
    texts: TextConfig | TextReader | None = None,
) -> None:
    """Import the files into a new store, which replaces an old one. If the import fails, the old store is unchanged.

    texts: how text columns are read: by a reader, or by one that is made for these texts; None: hashed trigrams.

    Raises:
        DataError: the import failed, or no transition is left to train on.
        StorageError: the disk is full or not writable.
    """
    with atomic_directory(directory, replace=True) as temporary:
        buckets = temporary / "buckets"
        buckets.mkdir()
        table = Table(files)
        reader = _reader(texts, table, schema)
        imported = import_rows(table, schema, buckets, reader, progress)
        report, sums = _write(temporary, imported, table)
        buckets.rmdir()
        (temporary / ENCODING).write_text(json.dumps(imported.encoding.to_json(), ensure_ascii=False), encoding="utf-8")
        (temporary / READER).write_text(json.dumps(reader.to_json(), ensure_ascii=False), encoding="utf-8")
        sums |= {name: checksum(temporary / name) for name in SIDE}
        meta = {"format": "seqel-dataset", "version": VERSION, "made_from": made_from, **report, "files": sums}
        (temporary / META).write_bytes(_sealed(meta))


def _reader(texts: TextConfig | TextReader | None, table: Table, schema: Schema) -> TextReader:
    if texts is None or not schema.of_kind("text"):
        return HashedReader(schema.text_length)
    if isinstance(texts, TextReader):
        reader: TextReader = texts
    else:
        from seqel.texts.make import make_reader  # imports torch

        table.require(schema.of_kind("text"))
        reader = make_reader(texts, sample_texts(table, schema)) or HashedReader(schema.text_length)
    register(reader)
    return reader


def _write(directory: Path, imported: Imported, table: Table) -> tuple[dict[str, Any], dict[str, tuple[int, str]]]:
    """Append bucket after bucket to the files of the columns.  -> facts for meta.json; size and CRC-32 of these files."""
    layout = layout_of(imported.encoding)
    columns = layout.columns()
    by_hash = np.argsort(imported.session_hash, kind="stable")
    rank = np.empty(len(by_hash), np.int64)
    rank[by_hash] = np.arange(len(by_hash))
    counts, slots = Counts(), 0
    numbers: list[NDArray[np.int64]] = []
    sessions: list[NDArray[np.int64]] = []
    files = {name: (directory / f"{place:02}.bin") for place, name in enumerate(columns)}
    sums = dict.fromkeys(files, 0)
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
            sums[name] = zlib.crc32(array.reshape(-1).view(np.uint8).data, sums[name])
        begin = slots + np.cumsum(found.length + 1) - found.length - 1
        zeros = np.zeros(len(begin), np.int64)
        before = np.zeros((len(begin), layout.action_dims), np.int64)
        numbers.append(np.column_stack([begin, found.length, zeros, found.terminated, before]))
        sessions.append(found.sessions)
        slots += int((found.length + 1).sum())
    if not slots:
        raise DataError(
            f"no transition is left of {imported.rows:,} rows: each of the {len(rank):,} sessions has a single row and was "
            'truncated there (ends = "truncated", or its terminated column says no): check that the session column is right'
        )
    _write_sessions(directory, imported, np.concatenate(numbers), np.concatenate(sessions))
    report = {"rows": imported.rows, "table_sessions": len(rank), **asdict(counts), "missing": imported.missing}
    if counts.first_duplicate is not None:
        one, two, name = counts.first_duplicate
        report["first_duplicate"] = f"{table.place(one)} and {table.place(two)} (session {name!r})"
    report |= imported.notes
    report["action_counts"] = imported.action_counts.tolist()
    report["rare"] = {name: int((found < RARE).sum()) for name, found in imported.frequencies.items()}
    report["categories"] = {name: len(found) for name, found in imported.frequencies.items()}
    kept = {
        name: {"file": files[name].name, "shape": list(shape), "dtype": dtype.str}
        for name, (shape, dtype) in columns.items()
    }
    written = {files[name].name: (files[name].stat().st_size, f"{crc:08x}") for name, crc in sums.items()}
    return {"slots": slots, "columns": kept, "report": report}, written


RARE = 5  # little can be learned about a category that occurs less often than this


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
    """Check every byte of the store's files and return the contents of meta.json; None if there is no store that was made
    from exactly this, by this version.

    Raises:
        CheckpointError: the store is damaged; the message names the file.
    """
    if not (directory / META).exists():
        if directory.exists():
            raise CheckpointError(f"{META} is missing")
        return None
    try:
        require_own(directory / META, directory)
        raw = (directory / META).read_bytes()
        meta: dict[str, Any] = json.loads(raw)
        if (meta["format"], meta["version"]) != ("seqel-dataset", VERSION):
            return None
        if raw != _sealed(meta):
            raise CheckpointError(f"{META} is altered")
        if meta["made_from"] != made_from:
            return None
        _check(directory, meta)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, FileNotFoundError):
            raise CheckpointError(f"{error.filename} is missing") from error
        raise CheckpointError(f"{META} cannot be read: {error}") from error
    return meta


def _check(directory: Path, meta: dict[str, Any]) -> None:
    """Compare every file with its checksum, a few files at a time."""
    files: dict[str, Any] = meta["files"]
    columns = {column["file"] for column in meta["columns"].values()}
    if set(files) != columns | set(SIDE) or not all(re.fullmatch(r"\d+\.bin", name) for name in columns):
        raise CheckpointError(f"{META} lists files that are not those of a store")
    for column in meta["columns"].values():
        size = meta["slots"] * int(np.prod(column["shape"], dtype=np.int64)) * np.dtype(column["dtype"]).itemsize
        if files[column["file"]][0] != size:
            raise CheckpointError(f"{column['file']}: expected {size:,} bytes, got {files[column['file']][0]:,}")
    for name in files:
        require_own(directory / name, directory)
    with ThreadPoolExecutor(4) as pool:  # zlib releases the global interpreter lock
        found = dict(zip(files, pool.map(lambda name: checksum(directory / name), files), strict=True))
    for name, (size, crc) in files.items():
        if found[name] != (size, crc):
            raise CheckpointError(f"{name} is altered: expected {size:,} bytes, CRC-32 {crc}, got {found[name]}")


def _sealed(meta: dict[str, Any]) -> bytes:
    """Return the bytes of meta.json, including the checksum of its own content."""
    body = {name: value for name, value in meta.items() if name != "crc32"}
    seal = crc32(json.dumps(body, sort_keys=True).encode())
    return json.dumps({**body, "crc32": seal}, ensure_ascii=False, indent=1).encode()


def open_columns(directory: Path, meta: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Map the columns into memory, each (slots, *shape)."""
    return {
        name: np.memmap(
            directory / column["file"], np.dtype(column["dtype"]), "r", shape=(meta["slots"], *column["shape"])
        )
        for name, column in meta["columns"].items()
    }
