"""Watches a file or standard input from where the last session stopped, so that no message is read twice and none is lost.

The state is saved together with the position in the input and the size of the file of alerts. After a crash, messages since
the last save are read again; alerts about them are removed from the file first, and raised again. Standard input cannot be
read again: messages after the last save are lost with the process, and messages that are sent twice are detected.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from seqel.errors import CheckpointError, DataError
from seqel.storage import Claim, writing
from seqel.stored_trees import load_tree, save_tree
from seqel.texts.logistic_regression import LogisticRegression
from seqel.watching.calibration import Calibration
from seqel.watching.messages import Filter, Message, parse, when
from seqel.watching.watcher import Alert, Watcher

__all__ = ["Session", "read_calibration", "require_messages"]

VERSION = 2
BLOCK = 1 << 18  # bytes that are read at once
POLL = 0.25  # seconds between two looks at a file that grows
SAVE = 10.0  # seconds between two saves, at least; and ten times as long as one takes
NAMED = 20  # malformed lines that are named one by one
LONGEST_LINE = 1 << 20  # bytes
# Hours by which a message may be later than this machine's clock. Time does not run backwards here, so a single message from
# a far future would otherwise give its time to all that follow.
AHEAD = 168.0


class Session:
    """One run of the watcher over its input.

    Args:
        watcher: a new one; it gets the state that was saved.
        folder: of the state. One process at a time.
        source: the file of messages; None: standard input.
        alerts: the file that alerts are appended to, as JSON lines; None: none.
        note: called with what the user should know, such as a malformed line.

    Raises:
        StorageError: another process uses the folder, or it cannot be written.
        CheckpointError: the state is damaged, or was saved by another version.
    """

    def __init__(
        self, watcher: Watcher, folder: Path, source: Path | None, alerts: Path | None, note: Callable[[str], None]
    ) -> None:
        self.watcher, self.folder, self.source, self.alerts, self.note = watcher, folder, source, alerts, note
        self.filter = Filter()
        self.messages = self.given = self.malformed = self.lines = 0
        self._offset, self._start = 0, ""  # place in the input, and the checksum of its first line
        self._number = 0  # of the last save
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._claim = Claim(folder)
        self._out: BinaryIO | None = None
        self._took, self._saved, self._saved_lines = 0.0, time.monotonic(), 0
        self._restore()

    # -- reading -----------------------------------------------------------------------------------------------------------

    def alerts_of(self, follow: bool = False) -> Iterator[list[Alert]]:
        """Read to the end and yield the alerts of each block of lines; save now and then, and at the end.

        follow: wait for more at the end of the file.

        Raises DataError if the file cannot be read, StorageError if state or alerts cannot be written.
        """
        try:
            for lines in self._blocks(follow):
                yield self._read(lines)
                self._save_now_and_then()
        finally:
            self.save()

    def _read(self, lines: list[bytes]) -> list[Alert]:
        messages: list[Message] = []
        latest = time.time() / 3600.0 + AHEAD
        for line in lines:
            self.lines += 1
            text = line.strip()
            if not text:
                continue
            try:
                if len(text) > LONGEST_LINE:
                    raise DataError(f"expected a line of at most {LONGEST_LINE:,} bytes, got {len(text):,}")
                found = parse(text.decode("utf-8-sig"))
                if found.time > latest:
                    raise DataError(f"time: expected at most {AHEAD:.0f} hours from now, got {when(found.time)}")
                message = self.filter.admit(found)
            except (DataError, UnicodeDecodeError) as error:
                self.malformed += 1
                if self.malformed <= NAMED:
                    more = " (further ones are only counted)" if self.malformed == NAMED else ""
                    self.note(f"{self.source or 'standard input'}, line {self.lines}: skipped: {error}{more}")
                continue
            if message is not None:
                messages.append(message)
        self.messages += len(messages)
        alerts = self.watcher.read(messages)
        self.given += len(alerts)
        if alerts and self.alerts is not None:
            self._append(alerts)
        return alerts

    def _blocks(self, follow: bool) -> Iterator[list[bytes]]:
        """Yield whole lines as they come, and keep the place after them."""
        rest = b""
        stream = self._open()
        try:
            while True:
                block = self._block(stream)
                if block:
                    *lines, rest = (rest + block).split(b"\n")
                elif follow and self.source is not None:
                    time.sleep(POLL)
                    if self._replaced(stream):
                        stream.close()
                        self._offset, self._start, rest = 0, "", b""
                        stream = self._open()
                    yield []
                    continue
                else:
                    lines, rest = [rest] if _whole(rest) else [], b""
                if lines:
                    if not self._start and self.source is not None:
                        self._start = _first_line(self.source)
                    self._offset += sum(len(line) + 1 for line in lines)
                    yield lines
                if not block:
                    return
        finally:
            if self.source is not None:
                stream.close()

    def _block(self, stream: BinaryIO) -> bytes:
        if self.source is not None:
            return stream.read(BLOCK)
        descriptor = stream.fileno()
        while not select.select([descriptor], [], [], SAVE)[0]:  # what was read is saved while nothing comes
            self._save_now_and_then()
        return os.read(descriptor, BLOCK)

    def _open(self) -> BinaryIO:
        if self.source is None:
            return sys.stdin.buffer
        try:
            stream = self.source.open("rb")
            size = os.fstat(stream.fileno()).st_size
        except OSError as error:
            raise DataError(f"{self.source}: expected a file of JSON lines, but {error}") from error
        if self._start and (size < self._offset - 1 or _first_line(self.source) != self._start):
            self.note(f"{self.source} is not the file of the last session: it is read from its beginning")
            self._offset, self._start, self.lines = 0, "", 0
        stream.seek(min(self._offset, size))
        return stream

    def _replaced(self, stream: BinaryIO) -> bool:
        """Whether there is another file in the place of the one that is read, as when logs are rotated."""
        assert self.source is not None
        try:
            here, there = os.fstat(stream.fileno()), self.source.stat()
        except OSError:
            return False  # it is being replaced
        return here.st_ino != there.st_ino or there.st_size < self._offset - 1

    # -- writing -----------------------------------------------------------------------------------------------------------

    def _append(self, alerts: list[Alert]) -> None:
        assert self.alerts is not None
        with writing(self.alerts):
            if self._out is None:
                self.alerts.parent.mkdir(parents=True, exist_ok=True)
                self._out = self.alerts.open("ab")
            for alert in alerts:
                self._out.write(json.dumps(alert.to_json(), ensure_ascii=False).encode() + b"\n")
            self._out.flush()

    def _save_now_and_then(self) -> None:
        if self.lines != self._saved_lines and time.monotonic() - self._saved > max(SAVE, 10.0 * self._took):
            self.save()

    def save(self) -> None:
        """Write the state; the one before is removed when the new one is on the disk."""
        began, size = time.monotonic(), 0
        if self._out is not None:
            with writing(self.folder):
                os.fsync(self._out.fileno())
        if self.alerts is not None and self.alerts.exists():
            size = self.alerts.stat().st_size
        calibration = self.watcher.calibration
        tree = {
            "version": VERSION, "source": None if self.source is None else str(self.source.resolve()),
            "offset": self._offset, "start": self._start, "lines": self.lines, "messages": self.messages,
            "given": self.given, "malformed": self.malformed,
            "alerts": None if self.alerts is None else [str(self.alerts.resolve()), size],
            "filter": self.filter.state(), "watcher": self.watcher.state(),
            "calibration": _calibration_to_tree(calibration),
        }  # fmt: skip
        save_tree(self.folder / f"state-{self._number + 1:09d}", tree)
        self._number += 1
        for old in _states(self.folder)[:-1]:
            shutil.rmtree(old, ignore_errors=True)
        self._saved, self._saved_lines = time.monotonic(), self.lines
        self._took = self._saved - began

    def _restore(self) -> None:
        tree = _load(self.folder)
        if tree is None:
            return
        self._number = int(_states(self.folder)[-1].name.removeprefix("state-"))
        self.filter.restore(tree["filter"])
        self.watcher.restore(tree["watcher"])
        self.messages, self.given, self.malformed = tree["messages"], tree["given"], tree["malformed"]
        if self.source is not None and tree["source"] == str(self.source.resolve()):
            self._offset, self._start, self.lines = tree["offset"], tree["start"], tree["lines"]
            if self.alerts is not None and tree["alerts"] and tree["alerts"][0] == str(self.alerts.resolve()):
                self._cut(tree["alerts"][1])

    def _cut(self, size: int) -> None:
        """Remove the alerts that were raised after the last save: they will be raised again."""
        assert self.alerts is not None
        if self.alerts.exists() and self.alerts.stat().st_size > size:
            with writing(self.alerts):
                os.truncate(self.alerts, size)

    def close(self) -> None:
        """Let other processes use the folder."""
        if self._out is not None:
            self._out.close()
            self._out = None
        self._claim.release()


def require_messages(path: Path) -> None:
    """Raise DataError if the first lines of a file are all malformed: it is no file of messages, or has other keys.

    A file without lines may still grow.
    """
    first = ""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(islice(file, NAMED), 1):
                if not line.strip():
                    continue
                try:
                    parse(line.strip().decode("utf-8-sig"))
                except (DataError, UnicodeDecodeError) as error:
                    first = first or f"{path}, line {number}: {error}"
                else:
                    return
    except OSError as error:
        raise DataError(f"{path}: expected a file of JSON lines, but {error}") from error
    if first:
        raise DataError(
            f"{first}. None of the first lines is a message; expected lines such as "
            '{"time": "2026-11-28T09:30:00Z", "company": "Acme", "text": "..."}'
        )


def read_calibration(folder: Path, agent: str, budget: float) -> Calibration | None:
    """Return the calibration that was saved with a state, if it is of this agent's weights and budget; else None."""
    tree = _load(folder)
    if tree is None or tree["calibration"]["agent"] != agent or tree["calibration"]["budget"] != budget:
        return None
    return _calibration_of_tree(tree["calibration"])


def _calibration_to_tree(one: Calibration) -> dict[str, Any]:
    reader = one.sentiment
    return {
        "agent": one.agent, "threshold": one.threshold, "alone": one.alone, "budget": one.budget, "names": list(reader.names),
        "weight": reader.weight, "bias": reader.bias, "accuracy": reader.accuracy, "f1": reader.f1,
    }  # fmt: skip


def _calibration_of_tree(tree: dict[str, Any]) -> Calibration:
    reader = LogisticRegression(tuple(tree["names"]), tree["weight"], tree["bias"], tree["accuracy"], tree["f1"])
    return Calibration(tree["threshold"], tree["alone"], tree["budget"], reader, tree["agent"])


def _states(folder: Path) -> list[Path]:
    return sorted(folder.glob("state-*"))


def _load(folder: Path) -> dict[str, Any] | None:
    """Return the last state, or None if there is none.

    Raises CheckpointError if it is damaged or of another version.
    """
    found = _states(folder)
    if not found:
        return None
    tree: dict[str, Any] = load_tree(found[-1])
    if tree.get("version") != VERSION:
        raise CheckpointError(
            f"{found[-1]}: expected the state of a watcher of version {VERSION}; remove it to start again"
        )
    return tree


def _whole(line: bytes) -> bool:
    """Whether a line without an end is a message; else it is one that is still being written."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _first_line(path: Path) -> str:
    """Return the checksum of the first line, by which a file is recognised although it has grown."""
    with path.open("rb") as file:
        return f"{zlib.crc32(file.readline(BLOCK)):08x}"
