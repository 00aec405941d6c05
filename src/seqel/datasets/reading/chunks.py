"""Reads large text files, also gzipped, in chunks that end where a record ends, in bounded memory.

Errors name the file and the line: a record of more than about RECORD_LIMIT bytes (found before it is read as a whole), a gzip
file that stops early, or quotes that do not close.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, cast

import numpy as np

from seqel.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["BLOCK", "RECORD_LIMIT", "Chunk", "chunks", "count", "share"]

BLOCK = 16 << 20  # bytes read at a time
RECORD_LIMIT = 16 << 20  # bytes of one record
PACKED = 8  # typical gzip compression ratio of a table
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole records of a text file."""

    data: bytes
    line: int  # number of its first line, from 1
    offset: int  # of its first byte in the (decompressed) file


def chunks(path: Path, *, quotes: bool, offset: int = 0, line: int = 1, block: int | None = None) -> Iterator[Chunk]:
    """Yield the file from `offset` on, in chunks of about `block` bytes. quotes: a line end in "..." does not end a record.

    Raises:
        DataError: names the file and the line (see the module).
    """
    block = BLOCK if block is None else block
    with _open(path) as file:
        held = b""
        if offset:
            _skip(file, offset, path)
        while True:
            data = _read(file, block, path, line)
            if not data:
                break
            if offset == 0 and not held and data.startswith(BOM):
                data, offset = data[len(BOM) :], len(BOM)
            held += data
            end = _end(held, quotes)
            if end:
                yield Chunk(held[:end], line, offset)
                line += count(held, b"\n", end)
                offset += end
                held = held[end:]
            if len(held) > RECORD_LIMIT:
                raise _too_long(path, line, held, quotes)
        if not held:
            return
        if quotes and held.count(b'"') % 2:
            at = line + _odd(held)
            raise DataError(
                f"{path}, line {at}: expected closed double quotes, but one that opens in this line never closes; "
                'a quote inside a quoted value is written twice ("")'
            )
        yield Chunk(held, line, offset)


def share(path: Path, piece: Chunk) -> float:
    """Return the share of the file read by the end of the chunk; an estimate for gzip, where the true size is unknown."""
    size = path.stat().st_size * (PACKED if path.suffix.lower() == ".gz" else 1)
    return min(1.0, (piece.offset + len(piece.data)) / max(1, size))


def count(data: bytes, mark: bytes, end: int | None = None) -> int:
    """Return how often a byte occurs in data[:end]; much faster than bytes.count for a frequent byte."""
    return int(np.count_nonzero(np.frombuffer(data, np.uint8, -1 if end is None else end) == mark[0]))


def _open(path: Path) -> IO[bytes]:
    try:
        return cast("IO[bytes]", gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); expected a file") from error


def _read(file: IO[bytes], size: int, path: Path, line: int) -> bytes:
    try:
        return file.read(size)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        what = "it stops in the middle (truncated)" if isinstance(error, EOFError) else str(error)
        raise DataError(
            f"{path}: expected a complete gzip file, but {what}, after line {line}: copy or compress the file again"
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}), after line {line}") from error


def _skip(file: IO[bytes], offset: int, path: Path) -> None:
    if path.suffix.lower() != ".gz":
        file.seek(offset)
        return
    while offset:  # in chunks, so that a damaged file is reported as such
        offset -= len(_read(file, min(offset, BLOCK), path, 1)) or offset


def _end(data: bytes, quotes: bool) -> int:
    """Return where the last whole record of `data` ends: just after a line end with an even number of quotes before it."""
    end = data.rfind(b"\n") + 1
    if not quotes or not end:
        return end
    odd = data.count(b'"', 0, end) % 2
    while end and odd:
        before = data.rfind(b"\n", 0, end - 1) + 1
        odd ^= data.count(b'"', before, end) % 2
        end = before
    return end


def _odd(data: bytes) -> int:
    """Return the number of the first line, from 0, with an odd number of quotes."""
    for number, line in enumerate(data.split(b"\n")):
        if line.count(b'"') % 2:
            return number
    return 0


def _too_long(path: Path, line: int, held: bytes, quotes: bool) -> DataError:
    limit = f"{RECORD_LIMIT >> 20} MiB"
    if quotes and b"\n" in held:
        at = line + _odd(held)
        return DataError(
            f"{path}, line {at}: a double quote opens in this line and does not close within {limit}; "
            'a quote inside a quoted value is written twice ("")'
        )
    return DataError(
        f"{path}, line {line}: expected lines of at most {limit}, got a longer one: check that it is a table with one row "
        "per line"
    )
