"""`seqel data dialogues`: the table, what is shown, and arguments that are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seqel.cli.main import main


def test_a_table_of_dialogues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    turns = [{"role": "customer", "text": "hi"}, {"role": "agent", "action": "greet"}]
    lines = [{"id": number, "turns": turns, "outcome": "good" if number % 2 else "bad"} for number in range(10)]
    del lines[0]["outcome"]
    Path("chats.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    command = ["data", "dialogues", "chats.jsonl", "--out", "table.jsonl", "--outcome", "good=1", "--outcome", "bad=-1"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert (
        "10 with 10 decisions" in shown
        and "greet" in shown
        and "4 times, worth -1" in shown
        and "not known  1 time," in shown
    )
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 10 and found["schema"] == "table.toml" and found["outcomes"] == {"good": 5, "bad": 4}
    assert main(["data", "check", found["table"], "--schema", found["schema"]]) == 0
    assert "10 sessions" in capsys.readouterr().out
    for arguments, said in (
        (command[:3], "expected --out FILE"), ([*command, "--html", "x.html"], "--html is for: seqel data check"),
        ([*command[:4], "table.toml"], "because the schema is the .toml"),
        ([*command, "--outcome", "odd=x"], "expected a number"),
        (["data", "check", "table.jsonl", "--out", "x"], "--out is for: seqel data dialogues"),
        (["data", "check", "table.jsonl", "--outcome", "a=1"], "--outcome is for: seqel data dialogues"),
    ):  # fmt: skip
        assert main(arguments) != 0
        assert said in capsys.readouterr().err
