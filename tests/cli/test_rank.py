"""`seqel rank`: lists for an item list and for a file, as text and JSON; what is wrong is named with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from seqel.cli.main import main
from seqel.ranking.data import item_encoding
from support_ranking import make_agent

FILMS = ["Heat", "Alien", "[b]Up[/b]", "Brazil", "Solaris"]


@pytest.fixture
def run(tmp_path: Path) -> str:
    agent = make_agent(len(FILMS))
    agent.info["encoding"] = item_encoding(FILMS).to_json()
    return str(agent.save(tmp_path / "agent"))


def test_a_list_to_read(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rank", run, "--item", "Heat", "--item", "Alien", "--k", "4"]) == 0
    shown = capsys.readouterr().out
    assert "[b]Up[/b]" in shown and "Brazil" in shown and "Heat" not in shown  # markup in a name is a name
    assert main(["rank", run, "--item", "Heat", "--include-seen"]) == 0
    assert "Heat" in capsys.readouterr().out


def test_why(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rank", run, "--item", "Heat", "--item", "Alien", "--why", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["lists"]
    assert len(found["because"]) == len(found["items"]) == 3
    for some in found["because"]:
        assert {one["item"] for one in some} <= {"Heat", "Alien"} and all(one["raised"] > 0.0 for one in some)
    assert any(found["because"])
    assert main(["rank", run, "--item", "Heat", "--why"]) == 0
    shown = capsys.readouterr().out
    assert "Heat +" in shown and "because of" in shown


def test_lists_of_a_file_as_json(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        {"user": "anna", "items": ["Heat", "Brazil"], "ratings": [5, 1], "candidates": ["Alien", "Solaris"]},
        {"items": FILMS},
        {"user": "new", "items": []},
    ]
    (tmp_path / "h.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["rank", run, "--history", str(tmp_path / "h.jsonl"), "--k", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["lists"]
    assert [one["user"] for one in found] == ["anna", "line 2", "new"]
    assert sorted(found[0]["items"]) == ["Alien", "Solaris"] and found[1]["items"] == []
    assert len(found[2]["items"]) == 3 and found[2]["scores"] == sorted(found[2]["scores"], reverse=True)
    assert main(["rank", run, "--history", str(tmp_path / "h.jsonl")]) == 0
    assert "no item is left" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"items": ["Heat", "Alein"]}',
            "line 1: history: expected items of the catalogue of 5, got 'Alein'; did you mean",
        ),
        ('{"items": "Heat"}', 'line 1: expected an object with "items"'),
        ("[]", 'line 1: expected an object with "items"'),
        ('{"items": [], "ratings": 3}', "line 1: expected 'ratings' to be a list"),
        ('{"items": ["Heat"], "ratings": ["x"]}', "line 1: could not convert string to float"),
        ("{", "line 1: expected an object"),
    ],
)
def test_a_line_that_is_wrong(
    run: str, tmp_path: Path, line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "h.jsonl").write_text(line + "\n")
    assert main(["rank", run, "--history", str(tmp_path / "h.jsonl"), "--json"]) != 0
    assert message in capsys.readouterr().err


def test_arguments_that_contradict_each_other(run: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rank", run, "--item", "Heat", "--history", "x.jsonl"]) != 0
    assert "expected --item or --history, got both" in capsys.readouterr().err
    assert main(["rank", run, "--k", "0"]) != 0
    assert "k: expected at least 1 item, got 0" in capsys.readouterr().err
