"""Errors in real files are handled, or reported with file, line and column; no bad value is silently trained on."""

from __future__ import annotations

import gzip
import re
import sys
from typing import Any

import numpy as np
import polars as pl
import pytest

from seqel.datasets import dataset as datasets
from seqel.datasets.dataset import load
from seqel.datasets.reading import chunks as lines
from seqel.errors import DataError, MissingExtraError
from seqel.spaces.text_readers import hash_text

HEAD = "who,step,x,do,gain\n"
GOOD = "a,0,1.5,go,1\na,1,2.5,stay,0\nb,0,3.5,go,1\n"


@pytest.fixture
def schema(tables: Any) -> Any:
    return tables.schema(observation={"x": "number"})


def refused(tables: Any, schema: Any, content: str | bytes, match: str, name: str = "t.csv") -> None:
    path = tables.text(content, name)
    before = sorted(path.parent.glob(".seqel/*"))
    with pytest.raises(DataError, match=match):
        load(path, schema)
    assert sorted(path.parent.glob(".seqel/*")) == before  # nothing of it is kept


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet", "t.csv.gz"])
def test_an_empty_file(tables: Any, schema: Any, name: str) -> None:
    refused(tables, schema, "", re.escape(name) + ".* is empty", name)


def test_only_blank_lines(tables: Any, schema: Any) -> None:
    refused(tables, schema, "\n\n\r\n", "is empty")
    refused(tables, schema, "\n\n", "is empty", "t.jsonl")


def test_only_a_header(tables: Any, schema: Any) -> None:
    refused(tables, schema, HEAD, "has a header and no rows")
    refused(tables, schema, HEAD.strip(), "has a header and no rows")
    pl.DataFrame(schema=dict.fromkeys(["who", "step", "x", "do", "gain"], pl.Float64)).write_parquet(
        tables.directory / "e.parquet"
    )
    with pytest.raises(DataError, match="no rows"):
        load(tables.directory / "e.parquet", schema)


def test_no_file_a_directory_a_strange_name(tables: Any, schema: Any) -> None:
    with pytest.raises(DataError, match="there is none"):
        load(tables.directory / "none.csv", schema)
    with pytest.raises(DataError, match="files that match, got none"):
        load(str(tables.directory / "*.csv"), schema)
    with pytest.raises(DataError, match="got a directory"):
        load(tables.directory, schema)
    refused(tables, schema, "x", "expected a file called .csv", "t.xlsx")
    refused(tables, schema, "no parquet", "expected a complete Parquet file", "t.parquet")


def test_one_session_is_imported(tables: Any, schema: Any) -> None:
    assert load(tables.text(HEAD + "a,0,1,go,1\na,1,2,go,0\n"), schema).buffer.episodes == 1


@pytest.mark.parametrize("value", ["NaN", "nan", "", '""', " "])
def test_a_reward_that_is_missing_within_a_session(tables: Any, schema: Any, value: str) -> None:
    refused(
        tables,
        schema,
        f"{HEAD}a,0,1.5,go,{value}\na,1,2.5,stay,0\n",
        r"t\.csv, line 2, column 'gain': expected a value",
    )


def test_a_last_row_may_lack_both_action_and_reward_but_not_one(tables: Any, schema: Any) -> None:
    refused(
        tables, schema, f"{HEAD}a,0,1.5,go,1\na,1,2.5,go,\n", r"line 3, column 'gain': expected a value, got nothing"
    )
    refused(tables, schema, f"{HEAD}a,0,1.5,go,1\na,1,2.5,,1\n", r"line 3, column 'do': expected a value, got nothing")
    refused(tables, schema, f"{HEAD}a,0,1.5,,\na,1,2.5,go,1\n", r"line 2, column 'do'")


@pytest.mark.parametrize("value", ["inf", "-Infinity", "1e39", "abc", "1,5", "0x10", "1_000", "None", "1.2.3", "😀"])
def test_a_reward_that_is_not_a_finite_number(tables: Any, schema: Any, value: str) -> None:
    cell = f'"{value}"' if "," in value else value
    refused(tables, schema, f"{HEAD}{GOOD}b,1,0,go,{cell}\n", r"t\.csv, line 5, column 'gain': expected a number")


def test_an_observed_number_may_be_missing_but_not_infinite(tables: Any, schema: Any) -> None:
    refused(tables, schema, f"{HEAD}{GOOD}b,1,inf,go,1\n", r"line 5, column 'x': expected a number, finite")
    dataset = load(tables.text(f"{HEAD}{GOOD}b,1,,go,1\nb,2,NaN,go,1\nb,3, 4.5 ,go,1\n"), schema)
    assert dataset.report["missing"] == {"x": 2}
    row = dataset.sessions.index("b")
    slot = dataset.buffer.table.numbers[row, 0]
    np.testing.assert_array_equal(
        dataset.buffer.slots.columns["observation/numbers"][slot : slot + 5],
        [[3.5, 0], [0, 1], [0, 1], [4.5, 0], [4.5, 0]],
    )


def test_a_session_or_a_step_without_a_name(tables: Any, schema: Any) -> None:
    refused(
        tables, schema, f"{HEAD}{GOOD},1,0,go,1\n", r"line 5, column 'who': expected the name of a session, got nothing"
    )
    refused(tables, schema, f"{HEAD}{GOOD}b,,0,go,1\n", r"line 5, column 'step': .*got nothing")
    refused(
        tables, schema, f"{HEAD}{GOOD}b,soon,0,go,1\n", r"line 5, column 'step': expected a number or a date.*'soon'"
    )
    refused(tables, schema, f"{HEAD}{GOOD}b,2026-01-01,0,go,1\n", r"line 5, column 'step': .*'2026-01-01'")
    refused(tables, schema, f"{HEAD}{GOOD}b,nan,0,go,1\n", r"line 5, column 'step'")


@pytest.mark.parametrize("value", ["0", "-0.1", "1.01", "1e-60"])
def test_an_invalid_probability(tables: Any, value: str) -> None:
    schema = tables.schema(observation={"x": "number"}, behaviour_probability="p")
    content = f"who,step,x,do,gain,p\na,0,1,go,1,0.5\na,1,1,go,1,{value}\n"
    refused(tables, schema, content, r"line 3, column 'p': expected a probability above 0, at most 1")


def test_an_invalid_flag(tables: Any) -> None:
    schema = tables.schema(observation={"x": "number"}, terminated="over")
    refused(
        tables, schema, "who,step,x,do,gain,over\na,0,1,go,1,maybe\n", r"line 2, column 'over': expected true or false"
    )
    for yes in ("1", "True", "yes", "1.0"):
        dataset = load(tables.text(f"who,step,x,do,gain,over\na,0,1,go,1,{yes}\n"), schema)
        assert dataset.buffer.table.numbers[0, 3] == 1


def test_windows_newlines_and_a_byte_order_mark(tables: Any, schema: Any) -> None:
    plain = load(tables.text(HEAD + GOOD, "a.csv"), schema)
    odd = load(tables.text(b"\xef\xbb\xbf" + (HEAD + GOOD).replace("\n", "\r\n").encode(), "b.csv"), schema)
    for name, column in plain.buffer.slots.columns.items():
        np.testing.assert_array_equal(column, odd.buffer.slots.columns[name])
    bom = "\ufeff" + (HEAD + GOOD + "b,1,zz,go,1\n").replace("\n", "\r\n")
    refused(tables, schema, bom, r"c\.csv, line 5, column 'x': .*'zz'", "sub/c.csv")
    lines_ = '\ufeff{"who":"a","step":0,"x":1,"do":"go","gain":1}\r\n'
    assert len(load(tables.text(lines_, "d.jsonl"), schema)) == 1


def test_blank_lines_and_other_separators(tables: Any, schema: Any) -> None:
    plain = load(tables.text(HEAD + GOOD, "a.csv"), schema)
    content = (HEAD + GOOD).replace("\n", "\n\n") + "\r\n\n"
    for name, text in (
        ("b.csv", content),
        ("c.csv", (HEAD + GOOD).replace(",", ";")),
        ("d.tsv", (HEAD + GOOD).replace(",", "\t")),
    ):
        other = load(tables.text(text, name), schema)
        np.testing.assert_array_equal(other.buffer.slots.columns["reward"], plain.buffer.slots.columns["reward"])
    refused(tables, schema, content + "b,1,zz,go,1\n", r"e\.csv, line 11, column 'x'", "sub/e.csv")


def test_a_truncated_gzip(tables: Any, schema: Any) -> None:
    rows = "".join(f"s{i},0,{i * 0.37},go,1\n" for i in range(5_000))
    whole = gzip.compress((HEAD + rows).encode())
    for cut in (5, 15, len(whole) // 2, len(whole) - 3):
        path = tables.directory / "t.csv.gz"
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"t\.csv\.gz: expected a complete gzip file"):
            load(path, schema)
    path.write_bytes(whole[:1000] + b"\x00\x01\x02" + whole[1003:])
    with pytest.raises(DataError, match=r"t\.csv\.gz"):
        load(path, schema)
    path.write_bytes((HEAD + rows).encode())
    with pytest.raises(DataError, match=r"expected a complete gzip file, but Not a gzipped file"):
        load(path, schema)


@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.csv.gz"])
def test_an_endless_line_is_refused_before_it_is_read(
    tables: Any, schema: Any, name: str, quoted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line of 80 MB represents one of a gigabyte: it is refused after two blocks, whatever follows."""
    seen = 0
    original = lines._read

    def counted(*args: Any) -> bytes:
        nonlocal seen
        data = original(*args)
        seen += len(data)
        return data

    monkeypatch.setattr(lines, "_read", counted)
    start = (
        HEAD + GOOD + ('b,1,"' if quoted else "b,1,")
        if "csv" in name
        else '{"who":"a","step":0,"x":1,"do":"go","gain":1}\n{"x":"'
    )
    content = start.encode() + b"7" * (80 << 20) + b"\n"
    path = tables.directory / name
    path.write_bytes(gzip.compress(content, 1) if name.endswith("gz") else content)
    with pytest.raises(DataError, match="line 2: expected lines of" if "json" in name else "line 5"):
        load(path, schema)
    assert seen <= 4 * lines.BLOCK


def test_a_quote_that_never_closes(tables: Any, schema: Any) -> None:
    refused(tables, schema, f'{HEAD}{GOOD}"b,1,2,go,1\nb,2,3,go,1\n', r"t\.csv, line 5: expected closed double quotes")


def test_double_quotes_inside_a_plain_value(tables: Any) -> None:
    schema = tables.schema(observation={"say": "text"})
    head = "who,step,say,do,gain\n"
    refused(tables, schema, head + 'a,0,5" disk,go,1\n', r"t\.csv, line 2: expected closed double quotes")
    refused(tables, schema, head + 'a,0,5", 6" disks,go,1\n', r"t\.csv, line 2: expected 5 values")
    refused(tables, schema, head + 'a,0,5" disk,go,1\na,1,6" disk,go,1\n', r"t\.csv, line 2: .*double quotes")
    dataset = load(tables.text(head + 'a,0,5" and 6" disks,go,1\n'), schema)
    assert (dataset.buffer.slots.columns["observation/text/say"][0] == hash_text('5" and 6" disks')).all()


def test_ragged_rows(tables: Any, schema: Any) -> None:
    refused(
        tables,
        schema,
        f"{HEAD}{GOOD}b,1,2,go\n",
        r"t\.csv, line 5: expected 5 values \(who, step, x, do, gain\), got 4",
    )
    refused(tables, schema, f"{HEAD}{GOOD}b,1,2,go,1,9\n", r"t\.csv, line 5: expected 5 values .*got 6")
    refused(tables, schema, f"{HEAD}{GOOD}b,1,2,go\nb,2,3,go,1,9\n", r"t\.csv, line 5: expected 5 values")
    refused(tables, schema, f'{HEAD}"a\n,",0,1,go,1\n{GOOD}b,1,2,go\n', r"t\.csv, line 7: expected 5 values")


def test_the_line_is_right_after_quoted_newlines(tables: Any) -> None:
    schema = tables.schema(observation={"x": "number", "say": "text"})
    text = 'who,step,x,say,do,gain\na,0,1,"one\n\ntwo, ""three""\n",go,1\n\na,1,2,"four\n",go,1\n'
    refused(tables, schema, text + "a,2,bad,five,go,1\n", r"t\.csv, line 9, column 'x': .*'bad'")
    with pytest.raises(DataError, match=r"t\.csv, line 7 and .*t\.csv, line 9 "):
        load(tables.text(text + 'a,1,2,"four\n",go,1\n'), schema)


def test_the_line_is_right_in_a_later_block(tables: Any, schema: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BLOCK", 256)
    rows = [f"s,{i},{i}.5,go,1" for i in range(1_000)]
    rows[777] = "s,777,oops,go,1"
    for name in ("t.csv", "t.csv.gz"):
        refused(tables, schema, HEAD + "\n".join(rows), r"line 779, column 'x': .*'oops'", name)
    rows[777] = "s,,0,go,1"
    refused(tables, schema, HEAD + "\n".join(rows), r"line 779, column 'step'")
    objects = [f'{{"who":"s","step":{i},"x":{i},"do":"go","gain":1}}' for i in range(1_000)]
    objects[500] = objects[500].replace('"gain":1', '"gain":"much"')
    refused(tables, schema, "\n".join(objects), r"line 501, column 'gain': .*'much'", "t.jsonl")
    objects[300] = objects[300][:-1]
    refused(tables, schema, "\n".join(objects), r"line 301: expected a JSON object", "t.jsonl")


def test_bytes_that_are_not_utf8(tables: Any, schema: Any) -> None:
    refused(tables, schema, (HEAD + GOOD).encode() + b"b,1,2,g\xf6,1\n", r"t\.csv, line 5, column 'do': expected UTF-8")
    refused(tables, schema, b"who,st\xe9p\na,1\n", r"t\.csv, line 1: expected UTF-8")
    refused(
        tables,
        schema,
        b'{"who":"\xff","step":0,"x":1,"do":"go","gain":1}\n',
        r"t\.jsonl, line 1: expected UTF-8",
        "t.jsonl",
    )


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ('{"who": "a"', "line 2: expected a JSON object"),
        ("[1, 2]", "line 2: expected a JSON object"),
        ('{"who":"a","step":1,"x":2,"do":"go","gain":1} 7', "line 2: expected a JSON object"),
        ('{"who":"a","step":1,"x":2,"do":"go","gain":1}{}', "line 2: expected a JSON object"),
        ('{"who":"a","step":1,"x":NaN,"do":"go","gain":1}', "line 2: .*NaN is not JSON; write null"),
        ('{"who":"a","step":1,"x":"two","do":"go","gain":1}', "line 2, column 'x': expected a number.*'two'"),
        ('{"who":"a","step":1,"x":[2],"do":"go","gain":1}', "line 2, column 'x'"),
        (
            '{"who":"a","step":1,"x":2,"do":"go"}\n{"who":"a","step":2,"x":2,"do":"go","gain":1}',
            "line 2, column 'gain'",
        ),
        ('{"who":"a","step":null,"x":2,"do":"go","gain":1}', "line 2, column 'step'"),
    ],
)
def test_json_lines_that_are_wrong(tables: Any, schema: Any, line: str, match: str) -> None:
    refused(tables, schema, '{"who":"a","step":0,"x":1,"do":"go","gain":1}\n' + line + "\n", match, "t.jsonl")


def test_an_invalid_vector(tables: Any) -> None:
    schema = tables.schema(observation={"v": "vector"})
    head = 'who,step,v,do,gain\na,0,"[1, 2]",go,1\n'
    refused(
        tables, schema, head + 'a,1,"[1, 2, 3]",go,1\n', r"line 3, column 'v': expected a list of numbers of length 2"
    )
    refused(tables, schema, head + 'a,1,"1, 2",go,1\n', r"line 3, column 'v': expected a list of numbers, such as")
    refused(tables, schema, head + 'a,1,"[1, 2] 3",go,1\n', r"line 3, column 'v'")
    refused(tables, schema, head + 'a,1,"[1, 2], [3]",go,1\n', r"line 3, column 'v'")
    refused(tables, schema, head + 'a,1,"[1, null]",go,1\n', r"line 3, column 'v'")
    refused(tables, schema, head + 'a,1,"[1, ""x""]",go,1\n', r"line 3, column 'v'")
    refused(tables, schema, head + 'a,1,"[1, 1e99]",go,1\n', r"line 3, column 'v': .*finite")


def test_rows_that_are_equal_in_every_column_are_refused_with_both_lines(tables: Any, schema: Any) -> None:
    path = tables.text(f"{HEAD}{GOOD}c,0,1,go,1\na,1,2.5,stay,0\nb,0,3.5,go,1\n")
    message = r"line 3 and .*line 6 \(session 'a'\): both are equal in every column.*\(2 such rows in total\)"
    for _ in range(2):  # also from the store
        with pytest.raises(DataError, match=message):
            load(path, schema)
    dataset = load(path, schema, duplicates="first")
    assert dataset.report["duplicates"] == 2
    assert len(dataset) == 4
    with pytest.raises(DataError, match=message):
        load(path, schema)


def test_events_of_the_same_second_keep_the_order_of_the_file(tables: Any) -> None:
    head = "who,when,say,do,gain\n"
    now, later = "2026-01-01T10:00:00", "2026-01-01T10:00:01"
    long = "x" * 100
    rows = [(later, "last", 5), (now, f"{long}b", 1), (now, f"{long}a", 1), (now, f"{long}b", 2), (now, f"{long}c", 1)]
    schema = tables.schema(order="when", observation={"say": "text"})
    path = tables.text(head + "".join(f"a,{when},{say},go,{gain}\n" for when, say, gain in rows))
    dataset = load(path, schema)
    assert dataset.buffer.slots.columns["reward"].tolist() == [1, 1, 2, 1, 5, 0]
    assert (dataset.report["duplicates"], dataset.report["ties"]) == (0, 3)
    # the same row again is a duplicate, even with other rows of that second in between
    path = tables.text(head + "".join(f"a,{when},{say},go,{gain}\n" for when, say, gain in [*rows, rows[1]]))
    with pytest.raises(DataError, match=r"line 3 and .*line 7 "):
        load(path, schema)


@pytest.mark.parametrize(
    "dates", [("03/04/2026", "04/03/2026"), ("3-4-2026 10:00", "4-3-2026 10:00"), ("03.04.26", "1.1.26")]
)
def test_a_date_whose_year_is_not_first_is_refused(tables: Any, dates: tuple[str, str]) -> None:
    schema = tables.schema(observation={"x": "number"})
    content = HEAD + "".join(f"a,{date},1,go,{gain}\n" for gain, date in enumerate(dates))
    refused(
        tables, schema, content, r"line 2, column 'step': expected a date in ISO form, year first.*day or the month"
    )


def test_dates_with_and_without_a_time_zone_are_not_mixed(tables: Any) -> None:
    schema = tables.schema(observation={"x": "number"})
    rows = ["2026-01-01T10:00:00", "2026-01-01T10:00:00Z"]
    for first, second, word in ((rows[0], rows[1], "without"), (rows[1], rows[0], "with")):
        content = f"{HEAD}a,{first},1,go,1\na,{second},2,go,1\n"
        refused(
            tables, schema, content, f"line 3, column 'step': expected a date {word} a time zone, as in the first row"
        )


def test_dates_of_several_iso_forms_are_ordered(tables: Any) -> None:
    schema = tables.schema(observation={"x": "number"})
    steps = ["2026-01-01 10:00:00", "2026-01-01 10:00:00.500000", "2026-01-01T10:01", "2026-01-02", "2026/01/03 00:00"]
    content = HEAD + "".join(f"a,{step},1,go,{gain}\n" for gain, step in reversed(list(enumerate(steps))))
    assert load(tables.text(content), schema).buffer.slots.columns["reward"].tolist() == [0, 1, 2, 3, 4, 0]
    steps = ["2026-01-01T12:00:00+02:00", "2026-01-01T10:30:00Z", "2026-01-01 07:00:00.1-0400"]
    content = HEAD + "".join(f"a,{step},1,go,{gain}\n" for gain, step in reversed(list(enumerate(steps))))
    assert load(tables.text(content), schema).buffer.slots.columns["reward"].tolist() == [0, 1, 2, 0]


def test_the_separator_line_of_excel_is_understood(tables: Any, schema: Any) -> None:
    content = "sep=;\r\n" + (HEAD + GOOD).replace(",", ";")
    assert len(load(tables.text(content), schema)) == 3
    assert len(load(tables.text("\ufeffSEP=,\n" + HEAD + GOOD, "b.csv"), schema)) == 3
    refused(tables, schema, content + "b;1;zz;go;1\n", r"c\.csv, line 6, column 'x'", "sub/c.csv")
    refused(tables, schema, "sep=;\n", "expected a header")


def test_a_schema_that_names_a_missing_column(tables: Any) -> None:
    schema = tables.schema(observation={"xs": "number"})
    refused(
        tables,
        schema,
        HEAD + GOOD,
        r"the schema names column 'xs'.*did you mean 'x'\?; the columns are who, step, x, do, gain",
    )
    pl.read_csv((HEAD + GOOD).encode()).write_parquet(tables.directory / "t.parquet")
    with pytest.raises(DataError, match="'xs'"):
        load(tables.directory / "t.parquet", schema)
    refused(tables, schema, '{"who":"a","step":0,"x":1,"do":"go","gain":1}\n', "'xs'", "t.jsonl")
    refused(tables, tables.schema(), "who,who\n1,2\n", "the schema names column 'step'")
    refused(tables, tables.schema(observation={"x": "number"}), HEAD.replace("x", "who") + GOOD, "column 'x'")
    refused(tables, tables.schema(observation={"x": "number"}), "x," + HEAD + "1," + GOOD[:11] + "\n", "has 'x' twice")


def test_a_key_that_comes_late_in_json_lines(tables: Any) -> None:
    rows = [{"who": f"s{i}", "step": 0, "x": i, "do": "go", "gain": 1} for i in range(1_500)]
    rows[1_400]["cut"] = True
    dataset = load(tables.jsonl(rows), tables.schema(observation={"x": "number"}, truncated="cut"))
    assert dataset.report["dropped_sessions"] == 1


def test_emoji_and_chinese_text_everywhere(tables: Any) -> None:
    rows = [{"会话": "😀", "步": i, "话": "你好，世界 🌍" * 10, "类": "🐈", "动": "跳", "奖": 1} for i in range(3)]
    from seqel.datasets.schema import Schema

    schema = Schema("会话", "动", "奖", {"话": "text", "类": "category"}, order="步")
    for path in (tables.csv(rows), tables.jsonl(rows), tables.parquet(rows)):
        dataset = load(path, schema)
        assert (dataset.sessions, dataset.actions, len(dataset)) == (["😀"], ["跳"], 3)


def test_an_import_that_finds_no_transition(tables: Any) -> None:
    schema = tables.schema(observation={"x": "number"}, ends="truncated")
    refused(tables, schema, HEAD + "a,0,1,go,1\nb,0,1,go,1\n", "no transition is left of 2 rows")


def test_too_many_actions(tables: Any, schema: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from seqel.datasets.importing import rows as importing

    monkeypatch.setattr(importing, "ACTIONS", 1)
    refused(tables, schema, HEAD + GOOD, r"column 'do': expected at most 1 different actions")


def test_without_polars(tables: Any, schema: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(MissingExtraError, match=r'pip install "seqel\[data\]"'):
        load(tables.text(HEAD + GOOD), schema)


def test_not_a_number_is_a_missing_category(tables: Any) -> None:
    rows = [{"who": "a", "step": i, "x": x, "do": "go", "gain": 1} for i, x in enumerate([1.0, float("nan"), 2.0])]
    dataset = load(tables.parquet(rows), tables.schema(observation={"x": "category"}))
    assert dataset.encoding is not None
    assert dataset.encoding.vocabularies["x"] == ("1.0", "2.0")
    assert dataset.encoding.code("x", float("nan")) == 0


def test_wrong_types_in_parquet(tables: Any) -> None:
    frame = pl.DataFrame(
        {"who": ["a", "a"], "step": [0, 1], "x": [[1.0], [2.0]], "do": ["go", "go"], "gain": [1.0, 2.0]}
    )
    path = tables.directory / "t.parquet"
    frame.write_parquet(path)
    for kind, match in (
        ("number", "row 1, column 'x': expected a number"),
        ("category", "row 1, column 'x': expected a single"),
    ):
        with pytest.raises(DataError, match=match):
            load(path, tables.schema(observation={"x": kind}))
    frame.with_columns(gain=pl.Series([1.0, float("inf")])).write_parquet(path)
    with pytest.raises(DataError, match=r"row 2, column 'gain': .*got inf"):
        load(path, tables.schema(observation={"x": "vector"}))
    assert datasets.load is load
