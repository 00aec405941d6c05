"""The benchmark of extraction: labels, answers and scores worked by hand, and sessions with the reward of their answers."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("sklearn")

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from extraction_agent import altered, write_table
from extraction_answers import best_span, longest_run, token_f1
from extraction_baselines import rule
from extraction_data import Example, Words, find_values, label_dialogue, shared_runs, split_words

TALK = [
    ("U", "Find a place in San Jose for 2 people.", {"city", "people"}),
    ("S", "Sino is nice. It is in San Jose.", {"name", "city"}),
    ("U", "Good. Book Sino at 11:30.", {"name", "time"}),
    (
        "S",
        "So a table for 2 at Sino Bar in San Jose, at 11:30 am on March 4th?",
        {"people", "name", "city", "time", "date"},
    ),
]
TURNS = [(speaker, split_words(text), slots) for speaker, text, slots in TALK]
WORDS = Words(words for _, words, _ in TURNS for _ in range(2))


def labels(kinds: dict[str, str]) -> set[tuple[int, str, str]]:
    return {
        (number, slot, " ".join(TURNS[number][1][start:end]))
        for number, slot, (start, end) in label_dialogue(TURNS, WORDS, kinds)
    }


def test_names_are_words_that_are_capital_inside_of_sentences() -> None:
    assert WORDS.is_key("San") and WORDS.is_key("san") and WORDS.is_key("11:30") and not WORDS.is_key("table")
    assert not WORDS.is_key("Good"), "it only begins a sentence"


def test_shared_runs_end_at_prepositions_and_start_with_key_words() -> None:
    one, other = split_words("the nice Sino in San Jose at 5"), split_words("I like the nice Sino in San Jose at 5")
    assert shared_runs(one, other, WORDS) == {("sino",), ("san", "jose"), ("5",)}
    assert shared_runs(split_words("at 5 pm"), split_words("at 6 pm"), WORDS) == set(), "pm alone is no value"


def test_what_two_turns_share_is_the_value_of_the_slot_that_is_left() -> None:
    """Turns 0 and 1 share one slot and San Jose; 1 and 2 share Sino; 2 and 3 then have 11:30 left, 0 and 3 the number 2."""
    values = find_values(TURNS, WORDS, {})
    assert values["city"] == {("san", "jose")} and values["name"] == {("sino",)} and values["time"] == {("11:30",)}
    found = labels({})
    assert (3, "name", "Sino Bar") in found, "widened over the next name"
    assert (3, "time", "11:30 am") in found and (2, "time", "11:30") in found and (3, "people", "2") in found
    assert not any(slot == "date" for _, slot, _ in found), "only one turn says the date"


def test_two_open_values_of_one_kind_are_not_guessed() -> None:
    turns = [
        ("U", split_words("from San Jose to Sino"), {"from", "to"}),
        ("S", split_words("so from San Jose to Sino"), {"from", "to"}),
    ]
    assert not any(find_values(turns, WORDS, {}).values())
    turns.append(("U", split_words("no, from Bar at 5"), {"from", "time"}))
    turns.append(("S", split_words("from Bar to Sino at 5"), {"from", "to", "time"}))
    found = find_values(turns, WORDS, {"time": "time", "from": "name", "to": "name"})
    assert found["from"] == {("bar",)} and not found["time"], "5 alone is a number"
    assert not found["to"], "Sino alone is shared by two turns that both have two open names"


def test_token_f1_worked_by_hand() -> None:
    """Three words against two, of which both are right: precision 2/3, recall 1, F1 0.8."""
    assert token_f1((2, 5), (3, 5)) == pytest.approx(0.8)
    assert token_f1((3, 5), (3, 5)) == 1.0 and token_f1((0, 3), (3, 5)) == 0.0 and token_f1((0, 0), (3, 5)) == 0.0


def test_spans_read_from_scores() -> None:
    scores = np.array([1.0, -3.0, 2.0, -0.5, 2.0, -1.0])
    assert longest_run(scores) == (0, 1), "the first of three runs of one word"
    assert best_span(scores) == (2, 5), "2 - 0.5 + 2"
    assert longest_run(-np.abs(scores)) == (0, 0) and best_span(-np.abs(scores)) == (3, 4)


EXAMPLE = Example("Restaurants_2", "name", "Name of the restaurant", tuple(TURNS[3][1]), (6, 8))


def test_rewards_of_sessions(tmp_path: Path) -> None:
    """Of the answer "at Sino Bar", F1 0.8, all decisions but one are right; the question's step has no choice."""
    rewards = []
    for by_word in (True, False):
        write_table(tmp_path / "table.csv", [(EXAMPLE, (5, 8))], by_word)
        with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["decision"] for row in rows].index("inside") == 6 and rows[0]["inside_allowed"] == "0"
        assert rows[0]["text"] == EXAMPLE.question and rows[1]["text"].startswith("0\tSo a table")
        rewards.append([float(row["reward"]) for row in rows])
    size = len(EXAMPLE.words)
    assert rewards[0] == [0.0, *(float(k != 5) for k in range(size))]
    assert rewards[1] == [*([0.0] * size), pytest.approx(0.8)]


def test_altered_answers_are_wrong_spans() -> None:
    rng = np.random.default_rng(0)
    found = {altered(EXAMPLE, rng) for _ in range(300)}
    assert EXAMPLE.span not in found and all(0 <= start < end <= len(EXAMPLE.words) for start, end in found)
    assert {(5, 8), (7, 8), (6, 9)} <= found and len(found) > 20


def test_the_rule_takes_the_longest_run() -> None:
    assert rule(EXAMPLE) == (6, 8)
