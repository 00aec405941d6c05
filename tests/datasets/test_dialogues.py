"""Dialogues as tables: rows and rewards by hand, what is refused, and a table that is trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import seqel
from seqel.datasets import Schema, load
from seqel.datasets.dialogues import convert_dialogues, rows_of
from seqel.errors import DataError


def customer(text: str) -> dict[str, Any]:
    return {"role": "customer", "text": text}


def agent(action: str, **more: Any) -> dict[str, Any]:
    return {"role": "agent", "action": action} | more


LOST = {
    "id": "a17", "outcome": "resolved",
    "turns": [
        customer("I lost my card"), agent("ask", text="Where?", reward=-0.1), customer("In Rome"), customer("yesterday 😀"),
        {"role": "agent", "text": "One moment"}, agent("answer"), customer("thanks"),
    ],
}  # fmt: skip


def test_rows_by_hand() -> None:
    assert rows_of(LOST, "x", {"resolved": 1.0}) == [
        {"dialogue": "a17", "turn": 2, "said": "I lost my card", "action": "ask", "reward": -0.1},
        {"dialogue": "a17", "turn": 6, "said": "In Rome\nyesterday 😀", "action": "answer", "reward": 1.0},
    ]
    assert rows_of({"turns": [agent("greet")], "outcome": 2}, "line 3", {})[0] == {
        "dialogue": "line 3", "turn": 1, "said": "", "action": "greet", "reward": 2.0,
    }  # fmt: skip


def write(path: Path, *dialogues: Any) -> Path:
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in dialogues), encoding="utf-8")
    return path


def test_a_table_is_written_with_its_schema_and_trained_on(tmp_path: Path) -> None:
    dialogues = [LOST | {"id": number} for number in range(20)]
    found = convert_dialogues(
        [write(tmp_path / "chats.jsonl", *dialogues, {"id": "z", "turns": [customer("hello?")], "outcome": "left"})],
        tmp_path / "table.jsonl", {"resolved": 1.0},
    )  # fmt: skip
    assert (found.dialogues, found.rows, found.without_decision) == (20, 40, 1)
    assert found.actions == {"answer": 20, "ask": 20} and found.outcomes == {"resolved": 20}
    schema = Schema.load(tmp_path / "table.toml")
    dataset = load(tmp_path / "table.jsonl", schema)
    assert len(dataset) == 40 and len(dataset.sessions) == 20
    assert dataset.encoding is not None and dataset.encoding.names == (("answer", "ask"),)
    small = {"network.width": 16, "network.layers": 1, "threads": 1, "device": "cpu"}
    trained = seqel.train(
        data=tmp_path / "table.jsonl",
        schema=tmp_path / "table.toml",
        steps=5,
        settings=small,
        out=tmp_path / "run",
        progress=False,
    )
    decision, _ = trained.act({"text/said": ["I lost my card"]})
    assert decision.action.shape == (1,)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[1]", "line 2: expected a dialogue as a JSON object"), ("{", "line 2: expected a dialogue as JSON"),
        ('{"id": 3}', 'expected {"id": "...", "turns"'), ('{"id": true, "turns": []}', "expected {"),
        ('{"turns": [{"role": "robot"}]}', "turn 1: expected a turn with the role"),
        ('{"turns": [{"role": "customer", "text": 3}]}', "text: expected a text"),
        ('{"turns": [{"role": "agent", "action": 3}]}', "action: expected a name"),
        ('{"turns": [{"role": "agent", "action": "a", "reward": "much"}]}', "reward: expected a finite number"),
        ('{"turns": [{"role": "agent", "action": "a", "reward": NaN}]}', "reward: expected a finite number"),
        ('{"turns": [{"role": "agent", "action": "a"}], "outcome": "lost"}',
         r"\(--outcome NAME=REWARD\), got none for 'lost' \(.*line 2\)$"),
        ('{"id": "a17", "turns": [{"role": "agent", "action": "a"}]}', "that no other dialogue has, got 'a17'"),
    ],
)  # fmt: skip
def test_what_is_no_dialogue_is_refused_and_nothing_written(line: str, said: str, tmp_path: Path) -> None:
    write(tmp_path / "chats.jsonl", LOST)
    with (tmp_path / "chats.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=said):
        convert_dialogues([tmp_path / "chats.jsonl"], tmp_path / "table.jsonl", {"resolved": 1.0})
    assert not (tmp_path / "table.jsonl").exists() and not (tmp_path / "table.toml").exists()


def test_all_outcomes_without_a_reward_are_named_at_once(tmp_path: Path) -> None:
    names = ["won", "lost", "won", *(f"odd {number}" for number in range(9))]
    chats = write(
        tmp_path / "a.jsonl",
        *({"turns": [agent("a")], "outcome": name} for name in names),
        {"turns": [customer("hello?")], "outcome": "left"},  # no decision: its outcome does not matter
    )
    with pytest.raises(DataError, match=r"'won' \(.*line 1\), 'lost' \(.*line 2\), 'odd 0' .* and 3 more"):
        convert_dialogues([chats], tmp_path / "table.jsonl")
    assert not (tmp_path / "table.jsonl").exists()


def test_an_outcome_that_is_not_known_counts_as_zero(tmp_path: Path) -> None:
    chats = write(tmp_path / "a.jsonl", {"turns": [agent("a")]}, {"turns": [agent("a")], "outcome": None}, LOST)
    assert convert_dialogues([chats], tmp_path / "table.jsonl", {"resolved": 1.0}).without_outcome == 2
    rows = [json.loads(line) for line in (tmp_path / "table.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["reward"] for row in rows] == [0.0, 0.0, -0.1, 1.0]


def test_lone_surrogates_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"turns": [{"role": "customer", "text": "x\\ud800"}, {"role": "agent", "action": "a"}]}\n'
    )
    convert_dialogues([tmp_path / "a.jsonl"], tmp_path / "table.jsonl")
    assert json.loads((tmp_path / "table.jsonl").read_text(encoding="utf-8"))["said"] == "x?"


def test_files_without_a_decision_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected at least one dialogue"):
        convert_dialogues([write(tmp_path / "a.jsonl", {"turns": []})], tmp_path / "table.jsonl")
    with pytest.raises(DataError, match="expected JSON lines"):
        convert_dialogues([tmp_path / "missing.jsonl"], tmp_path / "table.jsonl")
