"""Sentences with sentiments: splits without shared sentences, and files that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqel.errors import DataError
from seqel.tasks.opinion.sentences import SPLITS, Opinions, read_opinions
from support_opinion import opinions


def test_every_sentence_is_in_one_split() -> None:
    found = opinions().sentences
    every = [text for split in SPLITS for some in found[split] for text in some]
    assert len(every) == len(set(every)) == 84
    assert len(found["train"][0]) > len(found["test"][0]) > 0


def test_near_duplicates_share_a_split_and_contradictions_are_left_out() -> None:
    rows = [(f"Sales were EUR {number} mn , up .", "positive") for number in range(50)]
    found = Opinions.of(
        [*_rows(), *rows, ("It is so", "neutral"), ("It is so", "negative"), ("Twice", "neutral")] * 2
    ).sentences
    with_sales = [split for split in SPLITS if any("Sales" in text for text in found[split][2])]
    assert len(with_sales) == 1 and sum("Sales" in text for text in found[with_sales[0]][2]) == 50
    every = [text for split in SPLITS for some in found[split] for text in some]
    assert "It is so" not in every and every.count("Twice") == 1


def _rows() -> list[tuple[str, str]]:
    found = opinions().sentences
    names = ("negative", "neutral", "positive")
    return [(text, name) for split in SPLITS for name, some in zip(names, found[split], strict=True) for text in some]


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "bank.csv"
    path.write_text("result,content\n" + "".join(f'{name},"{text}"\n' for text, name in _rows()), encoding="latin-1")
    assert read_opinions(path, "latin-1").sentences == opinions().sentences
    for name, content in (
        ("a.csv", "one,two\n1,2\n"),
        ("b.csv", "result,content\ngood,fine\n"),
        ("c.csv", "result,content\n"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match="expected"):
            read_opinions(tmp_path / name)
    (tmp_path / "d.csv").write_bytes(b"result,content\nneutral,\xff\xff\n")
    for name in ("d.csv", "missing.csv"):
        with pytest.raises(DataError, match="expected a CSV file"):
            read_opinions(tmp_path / name)


def test_too_few_different_sentences_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "few.csv"
    path.write_text("result,content\n" + "".join(f'{name},"{text}"\n' for text, name in _rows() if name != "negative"))
    with path.open("a") as file:
        file.writelines(f"negative,Sales fell by {number} percent.\n" for number in range(50))
    with pytest.raises(DataError, match=r"few\.csv: opinions: .* of 50 negative sentences, 1 differ in their words"):
        read_opinions(path)
