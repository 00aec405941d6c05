from __future__ import annotations

import json
from pathlib import Path

import pytest

from seqel.cli.main import main
from seqel.datasets.schema import Schema

TABLE = "session,step,x,action,reward\n" + "".join(
    f"s{i // 4},{i % 4},{i * 7 % 11}.5,{'go' if i % 3 else 'stay'},{i % 5}\n" for i in range(80)
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "t.csv"
    path.write_text(TABLE)
    return path


def test_a_schema_is_proposed_written_and_used(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schema = table.parent / "schema.toml"
    assert main(["data", "check", str(table), "--write", str(schema)]) == 0
    shown = capsys.readouterr().out
    for text in ("[observation]", 'x = "number"', "80 in 20 sessions", "training data", "go", "unsure"):
        assert text in shown
    assert Schema.load(schema).observation == {"x": "number"}
    assert main(["data", "check", str(table), "--schema", str(schema), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["sessions"], found["proposed"]) == (80, 20, False)
    assert found["schema"]["session"] == "session"
    assert main(["data", "check", str(table), "--write", str(schema)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_several_files_and_a_pattern(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = table.parent / "u.csv"
    other.write_text(TABLE.replace("\ns", "\nother"))
    for files in ([str(table), str(other)], [str(table.parent / "*.csv")]):
        assert main(["data", "check", *files, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["sessions"] == 40


def test_failures_are_one_message(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(table.parent / "none.csv")]) == 5
    assert "there is none" in capsys.readouterr().err
    assert main(["data", "check", str(table), "--schema", str(table.parent / "none.toml")]) == 2
    assert main(["data"]) == 2
    table.write_text(TABLE + "s9,9,abc,go,1\n")
    schema = Schema("session", "action", "reward", {"x": "number"}, order="step")
    (table.parent / "s.toml").write_text(schema.to_toml())
    capsys.readouterr()
    assert main(["data", "check", str(table), "--schema", str(table.parent / "s.toml"), "--json"]) == 5
    assert "t.csv, line 82, column 'x'" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_duplicates_are_counted_and_not_fatal(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table.write_text(TABLE + "s0,0,0.5,stay,0\n")
    assert main(["data", "check", str(table)]) == 0
    assert "1 rows repeat" in " ".join(capsys.readouterr().out.split())


def test_an_unclear_table_gives_a_schema_to_fill_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, schema = tmp_path / "t.csv", tmp_path / "schema.toml"
    path.write_text("session,what,one\n" + "".join(f"s{n // 4},{'ab'[n % 2]},{n}.5\n" for n in range(40)))
    assert main(["data", "check", str(path), "--write", str(schema)]) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert "not clear which column is the action and the reward: give --action (what), --reward (one)" in message
    assert 'reward = "?"  # one of: one' in schema.read_text()
    assert main(["data", "check", str(path), "--action", "what", "--reward", "one", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"]["action"] == "what"
    assert main(["data", "check", str(path), "--schema", str(schema), "--action", "what"]) == 2
    assert "--action is for a proposed schema" in " ".join(capsys.readouterr().err.split())
