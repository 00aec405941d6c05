from __future__ import annotations

import json
from pathlib import Path

import pytest

from seqel.errors import DataError
from seqel.tasks.customers.utterances import (
    SPLITS,
    Utterances,
    read_banking77,
    read_clinc150,
    read_tnews,
    read_utterances,
)
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
    with pytest.raises(DataError, match="expected sentences of at least one intent, got none"):
        Utterances.of({split: [] for split in SPLITS})
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


def test_files_of_tnews(tmp_path: Path) -> None:
    def write(name: str, *rows: object) -> None:
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (tmp_path / name).write_text(text, encoding="utf-8")

    def title(topic: str, number: int) -> dict[str, object]:
        return {"label": 1, "label_desc": topic, "sentence": f"{'车房'[topic == 'house']}的新闻{number} "}

    write("train_few_all.json", *(title(topic, number) for topic in ("car", "house") for number in range(20)))
    write("dev_few_all.json", *(title(topic, number) for topic in ("car", "house") for number in range(15, 30)))
    write("test_public.json", title("car", 99), title("house", 98))
    found = read_tnews(tmp_path, shots=10)
    assert found.intents == ("car", "house") and not found.out_of_scope["train"]
    assert [[len(some) for some in found.by_intent[split]] for split in SPLITS] == [[10, 10], [20, 20], [1, 1]]
    assert found.by_intent["test"][0] == ("车的新闻99",) and found.neighbours(1).tolist() == [[1], [0]]
    assert read_tnews(tmp_path, shots=10, seed=1).by_intent["train"] != found.by_intent["train"]
    with pytest.raises(DataError, match="expected more than 30 titles of 'car', got 30"):
        read_tnews(tmp_path, shots=30)
    write("test_public.json", {"label": 3})
    with pytest.raises(DataError, match=r"test_public\.json, line 1: expected the keys sentence and label_desc"):
        read_tnews(tmp_path, shots=10)


def test_chinese_characters_count_as_words() -> None:
    """The first two intents share the character that the third lacks."""
    said = [("车 很快", "a"), ("车真慢", "b"), ("房子大", "c")]
    data = Utterances.of(
        {split: [(f"{text}{place}", name) for text, name in said] for place, split in enumerate(SPLITS)}
    )
    assert data.neighbours(1)[:2].tolist() == [[1], [0]]


def test_own_files(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"

    def write(*lines: str) -> None:
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    write("text,category", *(f"sentence {place},{('a', 'b', '')[place % 3]}" for place in range(120)))
    found = read_utterances(path)
    assert found.intents == ("a", "b") and all(found.out_of_scope[split] for split in SPLITS)
    sizes = [sum(map(len, found.by_intent[split])) + len(found.out_of_scope[split]) for split in SPLITS]
    assert sum(sizes) == 120 and sizes[0] > sizes[2] > sizes[1]
    rows = [f"{split} {name},{name},{split}" for split in SPLITS for name in ("a", "b")]
    write("text,category,split", *rows)
    assert read_utterances(path).by_intent["test"] == (("test a",), ("test b",))
    write("text,category,split", *rows, "one,a,dev")
    with pytest.raises(DataError, match=r"own\.csv, line 8: split: expected one of train, validation, test, got 'dev'"):
        read_utterances(path)
    write("text,category", "one,a", "two,b")
    with pytest.raises(DataError, match=r"own\.csv: utterances: .*; add different sentences, or a column `split`"):
        read_utterances(path)
    write("text,category,split", "one,a,train")
    with pytest.raises(DataError, match=r"got none in 'validation'$"):
        read_utterances(path)
    write("text,intent", "one,a")
    with pytest.raises(DataError, match="expected a CSV file with the columns text and category"):
        read_utterances(path)


def test_sentences_out_of_scope_are_labelled_after_the_last_intent() -> None:
    texts, labels = corpus().labelled("train")
    assert len(texts) == len(labels) == 4 * 20 + 5
    assert labels.tolist() == [0] * 20 + [1] * 20 + [2] * 20 + [3] * 20 + [4] * 5 and texts[-1].startswith("weather")
