"""A tamper-evident, append-only log: every line contains the hash of the previous line.

One JSON object per line. The last entry, "hash", is the SHA-256 of everything before it in the line, which includes
"previous", the hash of the line before; so a line that is changed, removed, inserted or moved breaks the chain there. With a
key, it is an HMAC-SHA256 instead, which no one without the key can compute.

Two changes are not detected by the chain alone: without a key, someone who can write the file can recompute the chain from a
changed line on; with or without a key, they can remove lines at the end. Both are detected if the head (`Head`: the number of
lines, and the last hash) was kept elsewhere and is compared (`verify`). Source of the construction: Haber & Stornetta 1991,
"How to time-stamp a digital document"; Schneier & Kelsey 1999, "Secure audit logs to support computer forensics". Differs
from the latter: one key for all lines, so whoever has it can rewrite the whole log.

Durability: `append` returns when its lines are on the disk (one fsync for all lines of a call), unless `sync` is False. A
crash can leave the last line incomplete (torn). The next writer keeps those bytes and says so in a line "recovered", with
their number and SHA-256, so that a torn line is not taken for a change.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from seqel.errors import ConfigError, DataError, StorageError

__all__ = ["KEY", "AuditLog", "Finding", "Head", "key_from_environment", "read", "verify"]

KEY = "SEQEL_AUDIT_KEY"  # environment variable
SHORTEST_KEY = 16  # bytes
FORMAT = 1
START = "0" * 64  # "previous" of the first line
MARK = b',"hash":"'
LONGEST = 1 << 26  # bytes of a line


@dataclass(frozen=True, slots=True)
class Head:
    """Where a log ends: the number of its lines, and the hash of the last one. Keep it where the writer cannot write."""

    count: int
    hash: str


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of `verify`."""

    status: str  # "intact"; "torn": intact, but the last line is incomplete, as after a crash or a cut; "tampered"
    head: Head  # of the lines that are intact
    line: int | None = None  # number of the first bad line in the file, from 1
    reason: str = ""
    recovered: int = 0  # torn lines in the middle, each followed by a line that says so


def key_from_environment() -> bytes | None:
    """Return the key in the environment variable SEQEL_AUDIT_KEY; None if it is not set. Raises ConfigError if short."""
    text = os.environ.get(KEY, "")
    if text and len(text.encode()) < SHORTEST_KEY:
        raise ConfigError(f"{KEY}: expected at least {SHORTEST_KEY} bytes, got {len(text.encode())}")
    return text.encode() or None


class AuditLog:
    """Appends to a log, which is created if it does not exist. One writer at a time; threads may share it.

    key: for HMAC; the same as when the log was created. sync: whether `append` waits for the disk.

    Raises:
        StorageError: the file cannot be written, or another process writes it. DataError: it is no log, or it was changed.
            ConfigError: it was created with another key, or the key is missing.
    """

    def __init__(self, path: Path, key: bytes | None = None, *, sync: bool = True) -> None:
        self.path, self._sync, self._lock = path, sync, threading.Lock()
        self._sign = _signer(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab+", buffering=0)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}") from error
        try:
            _claim(self._file, path)
            self._size = self._file.seek(0, os.SEEK_END)
            self._count, self._previous, torn = self._resume(key)
            if self._count == 0:
                algorithm = "sha256" if key is None else "hmac-sha256"
                self.append([{"kind": "created", "format": FORMAT, "algorithm": algorithm, "key": _key_id(key)}])
            else:
                digest = hashlib.sha256(torn).hexdigest()
                lost = {"kind": "recovered", "torn_bytes": len(torn), "torn_sha256": digest}
                self.append([lost] if torn else [{"kind": "opened"}])
        except BaseException:
            self._file.close()
            raise

    @property
    def head(self) -> Head:
        """The number of lines, and the hash of the last one."""
        return Head(self._count, self._previous)

    def append(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Add one line per entry (plain values; a number that is not finite is refused), all or none of them.

        Raises StorageError if they cannot be written; the log is then as before.
        """
        with self._lock:
            count, previous, lines = self._count, self._previous, []
            for entry in entries:
                content = {"n": count, "time": round(time.time(), 6)} | dict(entry) | {"previous": previous}
                data = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()[:-1]
                previous = self._sign(data)
                lines.append(data + MARK + previous.encode() + b'"}\n')
                count += 1
            self._write(b"".join(lines))
            self._count, self._previous = count, previous

    def close(self) -> None:
        """Close the file; another process can then write it."""
        with self._lock:
            self._file.close()

    def _write(self, data: bytes) -> None:
        try:
            written = 0
            while written < len(data):
                written += self._file.write(data[written:]) or 0
            if self._sync:
                os.fsync(self._file.fileno())
        except (OSError, ValueError) as error:  # ValueError: it is closed
            try:
                self._file.truncate(self._size)  # what was written in part
            except (OSError, ValueError):
                self._file.close()  # nothing may follow half a line
            raise StorageError(f"cannot write {self.path}: {error}") from error
        self._size += len(data)

    def _resume(self, key: bytes | None) -> tuple[int, str, bytes]:
        """Return the number of lines, the last hash, and what is left of a torn line, which is ended here."""
        if self._size == 0:
            return 0, START, b""
        found = verify(self.path, key)
        if found.status == "tampered":
            raise DataError(
                f"{self.path}, line {found.line}: {found.reason}; a changed log is not continued: choose another file"
            )
        count, previous = found.head.count, found.head.hash
        if found.status == "intact":
            return count, previous, b""
        with self.path.open("rb") as file:
            *_, torn = _lines(file)
        if not count:  # not even the first line was complete
            self._file.truncate(0)
            self._size = 0
            return 0, START, b""
        entry = _entry(torn + b"\n")
        self._write(b"\n")
        if entry is not None and not _problem(torn + b"\n", entry, count, previous, self._sign):
            return count + 1, str(entry["hash"]), b""  # only its end was missing
        return count, previous, torn


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries of a log, without checking the chain. Raises DataError if it cannot be read; skips torn lines."""
    try:
        with path.open("rb") as file:
            for line in _lines(file):
                entry = _entry(line)
                if entry is not None:
                    yield entry
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def verify(path: Path, key: bytes | None = None, anchor: Head | None = None) -> Finding:
    """Check every line of a log, and that it continues what `anchor`, an earlier head, stands for.

    Raises:
        DataError: the file cannot be read. ConfigError: the log was made with a key, and it is missing or another one.
    """
    try:
        with path.open("rb") as file:
            return _verify(file, key, anchor)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _verify(file: BinaryIO, key: bytes | None, anchor: Head | None) -> Finding:
    sign = _signer(key)
    count, previous, recovered = 0, START, 0
    torn: tuple[int, bytes] | None = None  # a line that may be torn: its number, and what is left of it
    seen_anchor = anchor is None

    def bad(number: int, reason: str) -> Finding:
        return Finding("tampered", Head(count, previous), number, reason, recovered)

    number, ended = 0, True
    for number, line in enumerate(_lines(file), start=1):
        whole = line.endswith(b"\n")
        entry = _entry(line) if whole else None
        if count == 0 and entry is not None:
            _require_key(entry, key)
        if torn is not None:
            digest = hashlib.sha256(torn[1]).hexdigest()
            if entry is None or (entry.get("kind"), entry.get("torn_bytes"), entry.get("torn_sha256")) != (
                "recovered", len(torn[1]), digest,
            ):  # fmt: skip
                return bad(torn[0], "it is no line of a log, and the next line does not say that it was torn")
        elif entry is not None and entry.get("kind") == "recovered":
            return bad(number, "it says that the line before was torn, but it is whole")
        if entry is None:
            torn, ended = (number, line.removesuffix(b"\n")), whole
            continue
        problem = _problem(line, entry, count, previous, sign)
        if problem:
            return bad(number, problem)
        recovered += torn is not None
        torn, count, previous = None, count + 1, str(entry["hash"])
        if anchor is not None and count == anchor.count:
            if not hmac.compare_digest(previous, anchor.hash):
                return bad(number, f"its hash is not that of the head, {anchor.hash[:16]}...")
            seen_anchor = True
    if number == 0:
        return bad(1, "it is missing: the file is empty")
    if torn is not None and ended:
        return bad(torn[0], "it is no line of a log")
    if not seen_anchor:
        assert anchor is not None
        return bad(number + 1, f"it is missing: the head stands for {anchor.count:,} lines, and there are {count:,}")
    if torn is not None:
        return Finding("torn", Head(count, previous), torn[0], "it is incomplete, as after a crash", recovered)
    return Finding("intact", Head(count, previous), recovered=recovered)


def _problem(line: bytes, entry: Mapping[str, Any], count: int, previous: str, sign: Callable[[bytes], str]) -> str:
    """Return what is wrong with a line, or ""."""
    data, _, rest = line.rpartition(MARK)
    if entry.get("n") != count:
        return f"expected line n = {count}, got {entry.get('n')!r:.40}: lines were removed, added or moved"
    if entry.get("previous") != previous:
        return "it does not hold the hash of the line before"
    if not hmac.compare_digest(rest, sign(data).encode() + b'"}\n'):
        return "its content does not have its hash"
    return ""


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(LONGEST):
        yield line


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("hash"), str) and MARK in line else None


def _require_key(entry: Mapping[str, Any], key: bytes | None) -> None:
    if entry.get("algorithm") == "hmac-sha256" and entry.get("key") != _key_id(key):
        got = "none" if key is None else "another one"
        raise ConfigError(f"the log was made with a key: expected it in the environment variable {KEY}, got {got}")
    if entry.get("algorithm") == "sha256" and key is not None:
        raise ConfigError(f"the log was made without a key: expected no {KEY}; a new file can have one")


def _signer(key: bytes | None) -> Callable[[bytes], str]:
    if key is None:
        return lambda data: hashlib.sha256(data).hexdigest()
    return lambda data: hmac.new(key, data, hashlib.sha256).hexdigest()


def _key_id(key: bytes | None) -> str | None:
    """Return a name of a key that does not reveal it."""
    return None if key is None else hmac.new(key, b"seqel audit log", hashlib.sha256).hexdigest()[:16]


def _claim(file: Any, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StorageError(f"{path} is in use: another process is writing to it") from error
    except OSError:  # a file system without locks
        pass
