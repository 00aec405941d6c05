"""Tables of interactions: numbers and dates, and what is wrong with a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from seqel.errors import DataError
from seqel.ranking import read_interactions

TABLE = "user,item,time,stars\n2,b,30,4\n1,a,10,5\n2,a,20,1\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "t.csv").write_text(TABLE)
    return tmp_path / "t.csv"


def test_a_table(table: Path) -> None:
    found = read_interactions(table, rating="stars")
    assert found.users == ("1", "2") and found.items == ("a", "b") and found.item.tolist() == [0, 0, 1]
    assert found.rating.tolist() == [5, 1, 4] and found.time.tolist() == [10, 20, 30]
    assert read_interactions(table, time=None).item.tolist() == [0, 1, 0]
    assert read_interactions(table, items=["c", "b", "a"]).item.tolist() == [2, 2, 1]


def test_dates_and_other_separators(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("who\twhat\twhen\nx\ta\t2026-01-02T00:00:00\nx\tb\t2026-01-01T12:00:00\n")
    found = read_interactions(tmp_path / "t.tsv", "who", "what", "when", separator="\t")
    assert found.item.tolist() == [1, 0] and found.time[1] - found.time[0] == 43_200.0


def test_parquet(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"user": [1, 1], "item": [5, 6], "time": ["2026-01-02", "2026-01-01"]})
    frame.with_columns(polars.col("time").str.to_date()).write_parquet(tmp_path / "t.parquet")
    assert read_interactions(tmp_path / "t.parquet").item.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("user,items,time\n1,2,3\n", r"expected a column 'item' \(item\), got user, items, time"),
        ("user,item,time\n1,2,3\n1,,4\n", "column 'item': expected a value in every row, got none in row 2"),
        (
            "user,item,time\n1,2,soon\n",
            "column 'time': expected numbers or dates in ISO 8601, the year first, got 'soon' in row 1$",
        ),
        ("user,item,time\n1,2,2026-01-02\n1,3,2026-13-02\n", "the year first, got '2026-13-02' in row 2$"),
        ("user,item,time\n1,2,2026-01-02\n1,3,02/01/2026\n", "the year first, got '02/01/2026' in row 2$"),
        ("user,item,time\n1,2,2026-01-02T10:00Z\n1,3,2026-01-02T10:00\n", "the year first, all in the same form, but "),
        ("user,item,time\n1,2,3,4\n", r"t\.csv: expected a table of interactions \(CSV or Parquet\), but [^\n]+$"),
        ("user;item;time\n1;2;3\n", "got user;item;time; is the separator ';'"),
        ("user,item,time\n", "expected at least one, got none"),
        ("", "expected a table of interactions"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_interactions(tmp_path / "t.csv")


def test_a_rating_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("user,item,time,stars\n1,2,3,4\n1,3,4,\n")
    with pytest.raises(DataError, match="got none in row 2; leave these rows out, or read the table without ratings"):
        read_interactions(tmp_path / "t.csv", rating="stars")
    assert read_interactions(tmp_path / "t.csv").rating.tolist() == [1, 1]


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_interactions(tmp_path / "none.csv")
