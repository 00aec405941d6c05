"""A session: nothing is read twice or lost over restarts and crashes, files that grow or are replaced, malformed lines."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from seqel.errors import CheckpointError, DataError, StorageError
from seqel.watching.messages import Message, when
from seqel.watching.session import Session, read_calibration, require_messages
from support_watching import make_watcher, messages

SOME = messages(240, 12)


def line(message: Message) -> str:
    named = {"company": message.company, "text": message.text, "group": message.group}
    return json.dumps({"time": message.time * 3600.0, **named}) + "\n"


def session(
    folder: Path, notes: list[str] | None = None, source: str | None = "in.jsonl", name: str = "state"
) -> Session:
    """A session whose agent gives many alerts."""
    watcher = make_watcher(threshold=-1.8, cooldown=1.0)
    path, heard = None if source is None else folder / source, [] if notes is None else notes
    return Session(watcher, folder / name, path, folder / f"{name}.alerts", heard.append)


def watched(one: Session, follow: bool = False) -> Session:
    for _ in one.alerts_of(follow):
        pass
    one.close()
    return one


def write(path: Path, *some: str, mode: str = "w") -> None:
    with path.open(mode, encoding="utf-8") as file:
        file.writelines(some)


@pytest.fixture
def expected(tmp_path: Path) -> str:
    """The alerts about all messages, read in one go."""
    write(tmp_path / "whole.jsonl", *map(line, SOME))
    assert watched(session(tmp_path, source="whole.jsonl", name="whole")).messages == len(SOME)
    text = (tmp_path / "whole.alerts").read_text()
    assert text.count("\n") > 20
    return text


def times(alerts: str) -> list[tuple[str, str]]:
    return [(one["time"], one["company"]) for one in map(json.loads, alerts.splitlines())]


def test_a_restart_in_mid_stream(tmp_path: Path, expected: str) -> None:
    write(tmp_path / "in.jsonl", *map(line, SOME[:100]), line(SOME[100])[:20])
    first = watched(session(tmp_path))
    assert first.messages == 100  # the unfinished line is left for later
    write(tmp_path / "in.jsonl", line(SOME[100])[20:], *map(line, SOME[101:]), mode="a")
    notes: list[str] = []
    second = watched(session(tmp_path, notes))
    assert second.messages == len(SOME) and second.given == expected.count("\n") and notes == []
    assert times((tmp_path / "state.alerts").read_text()) == times(expected)
    assert watched(session(tmp_path)).messages == len(SOME)  # nothing is new
    assert len(list((tmp_path / "state").glob("state-*"))) == 1


def test_a_crash_after_the_last_save(tmp_path: Path, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "in.jsonl", *map(line, SOME[:100]))
    watched(session(tmp_path))
    write(tmp_path / "in.jsonl", *map(line, SOME[100:]), mode="a")
    dying = session(tmp_path)
    monkeypatch.setattr(dying, "save", lambda: None)
    watched(dying)
    assert (tmp_path / "state.alerts").read_text().count("\n") == expected.count("\n")
    assert watched(session(tmp_path)).messages == len(SOME)  # read again, and the alerts given again
    assert times((tmp_path / "state.alerts").read_text()) == times(expected)


def test_malformed_lines_are_named_and_skipped(tmp_path: Path) -> None:
    bad = ["nonsense\n", '{"time": 1}\n', "\n", line(SOME[0]), b"\xff\xfe\n".decode("latin-1"), *["[]\n"] * 40]
    write(tmp_path / "in.jsonl", line(SOME[0]), *bad, line(SOME[2]), line(SOME[1]))
    with (tmp_path / "in.jsonl").open("ab") as file:
        file.write(b"\xff\n" + b'"' + b"x" * 2_000_000 + b'"\n')
    notes: list[str] = []
    found = watched(session(tmp_path, notes))
    assert found.messages == 3 and found.malformed == 45
    assert (found.filter.duplicates, found.filter.backwards) == (1, 1)
    assert len(notes) == 20 and notes[0].startswith(f"{tmp_path / 'in.jsonl'}, line 2: skipped: expected a JSON object")
    assert "line 3: skipped: company: expected a text, got nothing" in notes[1]
    assert notes[-1].endswith("(further ones are only counted)")


def test_a_message_from_a_far_future_does_not_set_the_clock(tmp_path: Path) -> None:
    late = [replace(SOME[1], time=time.time() / 3600.0 + hours, text=f"late {hours}") for hours in (24.0, 24.0 * 400)]
    write(tmp_path / "in.jsonl", line(SOME[0]), line(late[1]), line(SOME[2]), line(late[0]))
    notes: list[str] = []
    found = watched(session(tmp_path, notes))
    assert (found.messages, found.malformed, found.filter.backwards) == (3, 1, 0)
    assert "in.jsonl, line 2: skipped: time: expected at most 168 hours from now, got 20" in notes[0]


def test_a_file_without_messages_is_recognised_by_its_first_lines(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    write(path, "published,firm\n", *["2026-11-20,Acme\n"] * 30)
    with pytest.raises(DataError, match=r"in\.csv, line 1: expected a JSON object, got 'published,firm'.* such as {"):
        require_messages(path)
    write(path, "\n", '{"firm": "Acme"}\n')
    with pytest.raises(DataError, match=r"in\.csv, line 2: company: expected a text, got nothing; the keys are 'firm'"):
        require_messages(path)
    with pytest.raises(DataError, match="expected a file of JSON lines"):
        require_messages(tmp_path)
    for lines in ([], ["\n"], ["oops\n"] * 19 + [line(SOME[0])]):
        write(path, *lines)
        require_messages(path)


def test_a_file_that_grows(tmp_path: Path, expected: str) -> None:
    path = tmp_path / "in.jsonl"
    write(path, *map(line, SOME[:50]))
    one, heard = session(tmp_path), 0

    def append() -> None:
        for start in range(50, len(SOME), 70):
            time.sleep(0.1)
            write(path, *map(line, SOME[start : start + 70]), mode="a")

    writer = threading.Thread(target=append)
    writer.start()
    for _ in one.alerts_of(follow=True):
        heard = one.messages
        if heard == len(SOME):
            break
    writer.join()
    one.close()
    assert heard == len(SOME) and times((tmp_path / "state.alerts").read_text()) == times(expected)


def test_a_file_that_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    write(path, *map(line, SOME[:100]))
    watched(session(tmp_path))
    write(tmp_path / "new.jsonl", *map(line, SOME[100:130]))
    (tmp_path / "new.jsonl").replace(path)
    notes: list[str] = []
    one = session(tmp_path, notes)
    for _ in one.alerts_of(follow=True):
        if one.messages == 130:  # another file while it follows
            write(tmp_path / "new.jsonl", *map(line, SOME[130:150]))
            (tmp_path / "new.jsonl").replace(path)
        if one.messages == 150:
            break
    one.close()
    assert notes == [f"{path} is not the file of the last session: it is read from its beginning"]


def test_standard_input(tmp_path: Path, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for start in (0, 100):
        # the second sender repeats twenty messages
        some = SOME[max(0, start - 20) : start + 140 if start else 100]
        read, write_end = os.pipe()
        with os.fdopen(write_end, "wb") as file:
            file.write("".join(map(line, some)).encode())
        with os.fdopen(read) as stdin:
            monkeypatch.setattr("sys.stdin", stdin)
            found = watched(session(tmp_path, source=None))
    assert found.messages == len(SOME) and found.filter.duplicates == 20
    assert times((tmp_path / "state.alerts").read_text()) == times(expected)


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.jsonl: expected a file of JSON lines, but .*No such file"):
        watched(session(tmp_path, source="none.jsonl"))
    write(tmp_path / "in.jsonl", *map(line, SOME[:10]))
    one = session(tmp_path, name="other")
    with pytest.raises(StorageError, match="another process is writing to it"):
        session(tmp_path, name="other")
    watched(one)
    (state,) = (tmp_path / "other").glob("state-*")
    (state / "arrays.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"arrays\.safetensors"):
        session(tmp_path, name="other")


def test_the_calibration_is_kept(tmp_path: Path) -> None:
    write(tmp_path / "in.jsonl", *map(line, SOME[:10]))
    one = watched(session(tmp_path)).watcher.calibration
    found = read_calibration(tmp_path / "state", one.agent, one.budget)
    assert (
        found is not None
        and found.threshold == one.threshold
        and (found.sentiment.weight == one.sentiment.weight).all()
    )
    assert read_calibration(tmp_path / "state", one.agent, 1.0) is None
    assert read_calibration(tmp_path / "state", "0", one.budget) is None
    assert read_calibration(tmp_path / "nowhere", one.agent, one.budget) is None


def test_times_are_utc() -> None:
    assert when(SOME[0].time).endswith("Z")
