"""The audit log: every edit is found, a torn line is not taken for one, and every answer of a service is in it."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from seqel.agents.agent import Agent
from seqel.cli.main import main
from seqel.errors import ConfigError, DataError, StorageError
from seqel.safety import audit
from seqel.safety.audit import AuditLog, Finding, Head, read, verify
from seqel.serving.auditing import history_digest
from seqel.serving.backends.torch_agent import TorchBackend
from seqel.serving.errors import Unavailable
from seqel.serving.service import Service
from support import network
from support_serving import make_service

SECRET = b"a key of more than 16 bytes"


def write(path: Path, lines: int = 40, key: bytes | None = None, sync: bool = False) -> Head:
    log = AuditLog(path, key, sync=sync)
    for number in range(lines):
        log.append([{"kind": "decision", "step": number, "scores": [0.5 * number, None], "session": "anna ü"}])
    log.close()
    return log.head


def edited(data: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """Return a kind of edit, and the file after it."""
    lines = data.splitlines(keepends=True)
    kind = ("byte", "insert", "remove", "swap", "duplicate", "cut lines", "cut bytes", "foreign", "value")[
        rng.integers(9)
    ]
    at = int(rng.integers(len(lines)))
    if kind == "byte":
        place = int(rng.integers(len(data)))
        return kind, data[:place] + bytes([data[place] ^ int(rng.integers(1, 256))]) + data[place + 1 :]
    if kind == "insert":
        place = int(rng.integers(len(data)))
        return kind, data[:place] + rng.bytes(int(rng.integers(1, 9))) + data[place:]
    if kind == "remove":
        del lines[at]
    elif kind == "swap":
        other = (at + int(rng.integers(1, len(lines)))) % len(lines)
        lines[at], lines[other] = lines[other], lines[at]
    elif kind == "duplicate":
        lines.insert(int(rng.integers(len(lines) + 1)), lines[at])
    elif kind == "cut lines":
        del lines[at:]
    elif kind == "cut bytes":
        return kind, data[: int(rng.integers(len(data)))]
    elif kind == "foreign":  # a line of the right form, with a hash that is right for its own content
        entry = json.loads(lines[at])
        entry["step"] = 999
        entry.pop("hash")
        body = json.dumps(entry, separators=(",", ":")).encode()[:-1]
        lines[at] = body + b',"hash":"' + audit._signer(None)(body).encode() + b'"}\n'
    else:
        lines[at] = lines[at].replace(b'"kind":"decision"', b'"kind":"decisiom"').replace(b'"format":1', b'"format":2')
    return kind, b"".join(lines)


@pytest.mark.parametrize("key", [None, SECRET])
def test_a_thousand_random_edits_are_all_found(tmp_path: Path, key: bytes | None) -> None:
    path = tmp_path / "log"
    head = write(path, key=key)
    data, rng = path.read_bytes(), np.random.default_rng(0)
    assert verify(path, key, head) == Finding("intact", head)
    seen = set()
    for _ in range(1_000 if key is None else 300):
        kind, changed = edited(data, rng)
        if changed == data:
            continue
        seen.add(kind)
        path.write_bytes(changed)
        try:
            found = verify(path, key, head)
        except ConfigError:  # the name of the key in the first line was changed
            assert key is not None
            continue
        assert found.status != "intact", kind
        if found.status == "torn":
            assert data.startswith(changed) or changed.startswith(data[:-1]), (kind, "only the end is incomplete")
    assert len(seen) == 9


def test_the_first_bad_line_and_the_reason_are_named(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, 9)
    lines = path.read_bytes().splitlines(keepends=True)

    def finding(*parts: bytes) -> tuple[str, int | None, str]:
        path.write_bytes(b"".join(parts))
        found = verify(path)
        return found.status, found.line, found.reason

    assert finding(*lines[:4], lines[4].replace(b"0.5", b"0.6").replace(b"1.5", b"1.6"), *lines[5:]) == (
        "tampered", 5, "its content does not have its hash",
    )  # fmt: skip
    assert finding(*lines[:4], *lines[5:])[:2] == ("tampered", 5)
    assert "removed, added or moved" in finding(*lines[:4], *lines[5:])[2]
    assert finding(*lines[:4], b"gone\n", *lines[5:])[1:] == (
        5, "it is no line of a log, and the next line does not say that it was torn",
    )  # fmt: skip
    assert finding(*lines[:-1], lines[-1][:20])[:2] == ("torn", 10)
    assert finding() == ("tampered", 1, "it is missing: the file is empty")


def test_lines_cut_at_the_end_show_only_against_a_head(tmp_path: Path) -> None:
    path = tmp_path / "log"
    head = write(path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:30]))
    assert verify(path).status == "intact", "what is left is a chain"
    found = verify(path, anchor=head)
    assert (found.status, found.line) == (
        "tampered",
        31,
    ) and "the head stands for 41 lines, and there are 30" in found.reason


def test_a_chain_computed_again_shows_against_a_head_or_a_key_alone(tmp_path: Path) -> None:
    path = tmp_path / "log"
    head, keyed = write(path), tmp_path / "keyed"
    write(keyed, key=SECRET)
    for one, key in ((path, None), (keyed, b"guess")):
        previous, lines, sign = audit.START, [], audit._signer(key)
        for line in one.read_bytes().splitlines():
            entry = {name: value for name, value in json.loads(line).items() if name not in ("hash", "previous")}
            entry |= {"step": 7} if entry.get("step") == 6 else {}
            body = json.dumps(entry | {"previous": previous}, separators=(",", ":")).encode()[:-1]
            previous = sign(body)
            lines.append(body + b',"hash":"' + previous.encode() + b'"}\n')
        one.write_bytes(b"".join(lines))
    assert verify(path).status == "intact", "without a key or a head it cannot be found"
    assert verify(path, anchor=head).status == "tampered"
    assert verify(keyed, SECRET).status == "tampered"


def test_a_restart_continues_the_chain_also_after_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, 3)
    write(path, 2)
    whole = path.read_bytes()
    kinds = [entry["kind"] for entry in read(path)]
    assert kinds == ["created", *["decision"] * 3, "opened", *["decision"] * 2] and verify(path).head.count == 7
    start = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(start + 1, len(whole)):  # every place in the last line, up to its end
        path.write_bytes(whole[:cut])
        torn = verify(path)
        assert (torn.status, torn.line, torn.head.count) == ("torn", 7, 6)
        write(path, 1)
        found = verify(path)
        complete = cut == len(whole) - 1
        assert (found.status, found.recovered, found.head.count) == (
            "intact",
            0 if complete else 1,
            9 if complete else 8,
        )
    data = path.read_bytes()
    path.write_bytes(whole[: start + 9])
    write(path, 1)
    data = path.read_bytes()
    path.write_bytes(data.replace(whole[start : start + 9], whole[start : start + 8] + b"X"))
    assert verify(path).status == "tampered", "the line that recovers holds a hash of the torn bytes"


def test_a_changed_log_is_not_continued_and_one_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, 3)
    path.write_bytes(path.read_bytes().replace(b'"step":1', b'"step":8'))
    with pytest.raises(DataError, match="line 3: its content does not have its hash"):
        AuditLog(path)
    log = AuditLog(tmp_path / "other")
    with pytest.raises(StorageError, match="in use"):
        AuditLog(tmp_path / "other")
    log.close()
    AuditLog(tmp_path / "other").close()


def test_a_key_is_needed_where_the_log_has_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    write(path, 3, key=SECRET)
    assert SECRET.decode() not in path.read_text()
    for key in (None, b"another key of 16 bytes"):
        with pytest.raises(ConfigError, match="made with a key"):
            verify(path, key)
    write(tmp_path / "plain", 3)
    with pytest.raises(ConfigError, match="without a key"):
        verify(tmp_path / "plain", SECRET)
    monkeypatch.setenv(audit.KEY, "short")
    with pytest.raises(ConfigError, match="at least 16 bytes"):
        audit.key_from_environment()


def test_a_failed_write_leaves_the_log_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(tmp_path / "log")
    log.append([{"kind": "decision"}])
    before, head = (tmp_path / "log").read_bytes(), log.head

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError):
        log.append([{"kind": "decision"}, {"kind": "decision"}])
    monkeypatch.undo()
    assert (tmp_path / "log").read_bytes() == before and log.head == head
    with pytest.raises(ValueError):
        log.append([{"score": float("nan")}])
    log.append([{"kind": "decision"}])
    assert verify(tmp_path / "log").head.count == 3


def test_the_command_prints_the_head_and_checks_against_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(audit.KEY, raising=False)
    path = tmp_path / "log"
    head = write(path, 3)
    assert main(["audit", "head", str(path)]) == 0
    assert capsys.readouterr().out.split() == ["--count", "4", "--head", head.hash]
    write(path, 3)
    assert main(["audit", "verify", str(path), "--count", "4", "--head", head.hash, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "intact"
    assert main(["audit", "verify", str(path), "--count", "4", "--head", "0" * 64]) == 1
    assert "tampered, line 4" in capsys.readouterr().out
    assert main(["audit", "verify", str(path), "--count", "4"]) == 2
    path.write_bytes(path.read_bytes()[:-30])
    assert main(["audit", "verify", str(path)]) == 1 and capsys.readouterr().out.startswith("torn, line 8")


# -- the service -------------------------------------------------------------------------------------------------------------


def run(service: Service, sessions: int, steps: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)

    async def body() -> list[dict[str, Any]]:
        found = []
        for row in range(sessions):
            await service.create(f"s{row}", owner="me")
        for step in range(steps):
            for row in range(sessions):
                request: dict[str, Any] = {"observation": rng.standard_normal(3).tolist(), "reward": step / 4}
                if step % 3 == 1:
                    request["mask"] = [True, False, True]
                found.append(orjson.loads(await service.act(f"s{row}", request, "me")))
        await service.act("s0", {"observation": [0, 0, 0], "step": steps - 1}, "me")  # asked again: no decision
        await service.stop()
        return found

    return asyncio.run(body())


@pytest.mark.parametrize("slots", [8, 2])
def test_every_answer_of_a_service_is_in_the_log(tmp_path: Path, slots: int) -> None:
    log = AuditLog(tmp_path / "log", sync=False)
    service = make_service(TorchBackend(Agent(network(context=2, layers=1)), slots), batching={"audit": log}, batch=2)
    answers = run(service, 4, 9)
    entries = [one for one in read(tmp_path / "log") if one["kind"] == "decision"]
    assert [(one["session"], one["step"], one["action"], one["scores"][0], one["agent"]) for one in entries] == [
        (one["session"], one["step"], [one["action"]], one["scores"], "a") for one in answers
    ]
    assert {one["mask"][0] for one in entries if one["step"] % 3 == 1} == {"101"} and entries[0]["owner"] == "me"
    assert verify(tmp_path / "log").status == "intact"
    digests = {(one["session"], one["step"]): one["history"] for one in entries}
    assert len(set(digests.values())) == 36 and {one["history_from"] for one in entries} == {0}
    if slots == 2:  # memories were rebuilt, from all records: the digests are those of a service that held them
        other = AuditLog(tmp_path / "other", sync=False)
        run(make_service(TorchBackend(Agent(network(context=2, layers=1)), 8), batching={"audit": other}), 4, 9)
        assert [one["history"] for one in read(tmp_path / "other") if one["kind"] == "decision"] == [
            one["history"] for one in entries
        ]


def test_a_digest_depends_on_everything_that_was_read() -> None:
    form = make_service(TorchBackend(Agent(network()), 2)).agent().batcher.format
    records = form.empty(3)
    whole = history_digest(form, records)
    assert history_digest(form, records[2:], history_digest(form, records[:2])) == whole
    for field in ("previous_action", "previous_reward", "o0"):
        changed = records.copy()
        changed[field][1] = 1
        assert history_digest(form, changed) != whole


def test_a_decision_that_cannot_be_logged_is_not_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(tmp_path / "log", sync=False)
    service = make_service(TorchBackend(Agent(network()), 4), batching={"audit": log})

    async def body() -> None:
        await service.create("a")
        await service.act("a", {"observation": [0, 0, 0]})
        with monkeypatch.context() as patch:

            def full(entries: Any) -> None:
                raise StorageError("disk full")

            patch.setattr(log, "append", full)
            with pytest.raises(Unavailable):
                await service.act("a", {"observation": [1, 0, 0], "step": 1})
        answer = orjson.loads(await service.act("a", {"observation": [1, 0, 0], "step": 1}))
        assert answer["step"] == 1
        await service.stop()

    asyncio.run(body())
    assert [one["step"] for one in read(tmp_path / "log") if one["kind"] == "decision"] == [0, 1]
