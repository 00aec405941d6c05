"""File integrity: checksums of files, lines and texts, and no links that lead out of a folder.

A CRC-32 detects damage (a flipped bit, a lost block, an editor), not malice: anyone who alters a file on purpose can write
a matching checksum.
"""

from __future__ import annotations

import json
import os
import re
import stat
import zlib
from typing import TYPE_CHECKING, Any

from seqel.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "checksum",
    "crc32",
    "read_sealed",
    "require_own",
    "require_own_tree",
    "sealed_line",
    "sealed_model",
    "sealed_text",
    "too_large",
    "unsealed_model",
    "unsealed_text",
]

_LINE = re.compile(rb', "crc32": "([0-9a-f]{8})"\}')
_TEXT = re.compile(rb"# crc32 = ([0-9a-f]{8})\n")
_MODEL = b"\x72\x11\x0a\x05crc32\x12\x08"  # protobuf of an entry of ModelProto.metadata_props with 8 characters, which follow


def crc32(data: bytes) -> str:
    """Return the CRC-32 as eight hexadecimal digits."""
    return f"{zlib.crc32(data):08x}"


def checksum(path: Path) -> tuple[int, str]:
    """Return size in bytes and CRC-32 of a file, read block by block."""
    size = crc = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return size, f"{crc:08x}"


# -- one JSON object per line --------------------------------------------------------------------------------------------


def sealed_line(record: dict[str, Any]) -> str:
    """Return a record as one line of JSON whose last member is the CRC-32 of what precedes it, without the newline."""
    text = json.dumps({name: value for name, value in record.items() if name != "crc32"}, allow_nan=False)
    assert text != "{}"
    return f'{text[:-1]}, "crc32": "{crc32(text.encode())}"}}'


def read_sealed(data: bytes) -> tuple[list[dict[str, Any]], list[int], bool]:
    """Read lines written by `sealed_line`. Returns the intact records, without their checksum; the numbers (from 1) of the
    damaged lines; and whether the last line was cut off, as after a crash (it is then neither intact nor damaged)."""
    *lines, rest = data.split(b"\n")
    records, damaged = [], []
    for number, line in enumerate(lines, 1):
        record = _unsealed(line)
        if record is None:
            damaged.append(number)
        else:
            records.append(record)
    return records, damaged, bool(rest)


def _unsealed(line: bytes) -> dict[str, Any] | None:
    found = _LINE.fullmatch(line, max(0, len(line) - 22))
    if found is None:
        return None
    content = line[: found.start()] + b"}"
    if crc32(content) != found[1].decode():
        return None
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


# -- a text with its checksum in a comment ---------------------------------------------------------------------------------


def sealed_text(text: str) -> str:
    """Return a TOML text with a last line that is a comment with the CRC-32 of everything before it."""
    text = text if text.endswith("\n") or not text else text + "\n"
    return f"{text}# crc32 = {crc32(text.encode())}\n"


def unsealed_text(data: bytes) -> bool:
    """Return whether the bytes are exactly what `sealed_text` made; a leading byte-order mark is ignored."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    found = _TEXT.fullmatch(data, max(0, len(data) - 19))
    return found is not None and crc32(data[: found.start()]) == found[1].decode()


# -- an ONNX model with its checksum in its metadata -----------------------------------------------------------------------


def sealed_model(data: bytes) -> bytes:
    """Return a serialised ONNX model with one more metadata entry at its end: the CRC-32 of everything before it."""
    return data + _MODEL + crc32(data).encode()


def unsealed_model(data: bytes) -> bool:
    """Return whether the bytes are exactly what `sealed_model` made."""
    end = len(data) - len(_MODEL) - 8
    return end >= 0 and data[end:] == _MODEL + crc32(data[:end]).encode()


# -- files of a folder from another machine ------------------------------------------------------------------------------


def require_own(path: Path, root: Path) -> None:
    """Require that `path`, if it exists, is a regular file within `root`, not a link out of it, a pipe or a device.

    Raises CheckpointError.
    """
    try:
        real, top = os.path.realpath(path), os.path.realpath(root)
        if not os.path.lexists(path):
            return
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is a broken link; expected a file") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if os.path.commonpath([real, top]) != top:
        raise CheckpointError(
            f"{path} is a link that leads out of its folder, to {real}: expected a file of its own. "
            "If you trust the target, replace the link with a copy (cp -rL FOLDER COPY)"
        )
    if not stat.S_ISREG(mode):
        raise CheckpointError(f"{path}: expected a regular file, got a {_kind(mode)}")


def require_own_tree(root: Path) -> None:
    """Require that no link below `root` leads out of it, and that it contains only regular files and folders.

    Raises CheckpointError.
    """
    for folder, names, files in os.walk(root):
        for name in [*names, *files]:
            path = root.__class__(folder) / name
            try:
                mode = path.lstat().st_mode
            except OSError:
                continue  # it was removed meanwhile
            if stat.S_ISDIR(mode) or stat.S_ISREG(mode):
                continue
            if stat.S_ISLNK(mode) and path.is_dir():
                real, top = os.path.realpath(path), os.path.realpath(root)
                if os.path.commonpath([real, top]) == top:
                    continue
            require_own(path, root)


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")


def too_large(path: Path, limit: int) -> None:
    """Refuse to read a file of more than `limit` bytes where a small one is expected. Raises CheckpointError."""
    try:
        size = path.stat().st_size
    except OSError:
        return  # reading it will report what is wrong
    if size > limit:
        raise CheckpointError(
            f"{path}: expected at most {limit:,} bytes, got {size:,}: it is damaged, or not what its name says"
        )
