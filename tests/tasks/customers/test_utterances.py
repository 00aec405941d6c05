from __future__ import annotations

import json
from pathlib import Path

import pytest

from seqel.errors import DataError
from seqel.tasks.customers.utterances import SPLITS, Utterances, read_banking77, read_clinc150
from support_customers import corpus


def test_intents_are_sorted_and_sentences_belong_to_one_split() -> None:
    found = corpus()
    assert found.intents == ("balance", "card broken", "card lost", "transfer")
    assert found.by_intent["test"][2][0] == "card gone test 0" and len(found.out_of_scope["test"]) == 5
    assert {"m", "0"} <= found.characters and "Z" not in found.characters


def test_intents_with_common_words_are_neighbours() -> None:
    found = corpus()
    assert found.neighbours(1)[:, 0].tolist() == [3, 2, 1, 0]  # money: balance and transfer; card: lost and broken


def test_a_repeated_sentence_stays_in_the_first_split() -> None:
    said = {split: [("a", "x"), (f"b {split}", "x")] for split in SPLITS}
    found = Utterances.of(said)
    assert found.by_intent["train"] == (("a", "b train"),) and found.by_intent["test"] == (("b test",),)


def test_what_lacks_sentences_is_refused() -> None:
    with pytest.raises(DataError, match="expected a sentence of 'y' in each split, got none in 'validation'"):
        Utterances.of({"train": [("a", "x"), ("b", "y")], "validation": [("c", "x")], "test": [("d", "x"), ("e", "y")]})
    same = dict.fromkeys(SPLITS, (("a",),))
    with pytest.raises(DataError, match="is in the splits"):
        Utterances(("x",), same, dict.fromkeys(SPLITS, ()))


def test_files_of_banking77(tmp_path: Path) -> None:
    rows = "".join(f"question {number} of {intent},{intent}\n" for number in range(60) for intent in ("x", "y"))
    (tmp_path / "train.csv").write_text("text,category\n" + rows)
    (tmp_path / "test.csv").write_text('text,category\n"a, b",x\nc,y\nquestion 0 of x,x\n')
    found = read_banking77(tmp_path)
    assert found.intents == ("x", "y") and found.by_intent["test"] == (("a, b",), ("c",))
    sizes = [sum(map(len, found.by_intent[split])) for split in SPLITS]
    assert sum(sizes[:2]) == 120 and 4 <= sizes[1] <= 24
    (tmp_path / "test.csv").write_text("sentence,intent\na,b\n")
    with pytest.raises(DataError, match="expected a CSV file with the columns text and category"):
        read_banking77(tmp_path)


def test_files_of_clinc150(tmp_path: Path) -> None:
    data = {name: [[f"{name} {intent}", intent] for intent in ("x", "y")] for name in ("train", "val", "test")}
    data |= {f"oos_{name}": [[f"other {name}", "oos"]] for name in ("train", "val", "test")}
    (tmp_path / "data_full.json").write_text(json.dumps(data))
    found = read_clinc150(tmp_path)
    assert found.by_intent["validation"] == (("val x",), ("val y",)) and found.out_of_scope["test"] == ("other test",)
    for bad in ("no JSON", "{}", '{"train": [1]}'):
        (tmp_path / "data_full.json").write_text(bad)
        with pytest.raises(DataError, match="expected the file of CLINC150"):
            read_clinc150(tmp_path)
