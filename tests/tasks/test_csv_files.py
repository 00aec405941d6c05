"""CSV files of labelled sentences: marks and blanks, and what an error says."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqel.errors import DataError
from seqel.tasks.csv_files import read_columns


def test_marks_blanks_and_further_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes('\ufefftext,label,note\r\n 我要退款 , refund,\r\n"two\nlines",,x\r\n'.encode())
    assert read_columns(path, ("text", "label")) == [
        {"text": "我要退款", "label": "refund", "note": ""},
        {"text": "two\nlines", "label": "", "note": "x"},
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"utterance,intent\na,b\n", "expected a CSV file with the columns text and label, got 'utterance', 'intent'$"),
        (b"Text,labels\na,b\n", "got 'Text', 'labels'$"),
        (b"", "got an empty file"),
        (b"text,label\na,b\nc\n", r"a\.csv, line 3: expected a value in column 'label', got none"),
        ("text,label\n我,b\n".encode("gb18030"), "in the encoding utf-8, but .*give the file's encoding"),
    ],
    ids=["other names", "similar names", "empty", "short row", "encoding"],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_columns(tmp_path / "a.csv", ("text", "label"))


def test_a_file_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a CSV file .*, but the file does not exist"):
        read_columns(tmp_path / "a.csv", ("text",))
    with pytest.raises(DataError, match="expected a CSV file"):
        read_columns(tmp_path, ("text",))
