from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from seqel.datasets.reading import chunks as lines
from seqel.datasets.reading.csv_reader import CsvSource

PARTS = ["a", "b", ",", '"', "\n", "\r\n", " ", "é", "😀", "7", ";"]
CELL = st.lists(st.sampled_from(PARTS), max_size=12).map("".join)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=25),
    block=st.sampled_from([7, 64, 1 << 20]),
    newline=st.sampled_from(["\n", "\r\n"]),
    ended=st.booleans(),
)
def test_it_reads_what_the_standard_library_writes(
    rows: list[tuple[str, str, str]], block: int, newline: str, ended: bool
) -> None:
    """Any text in any cell, wherever a block ends; and every row is found at its line."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator=newline)
    writer.writerow(["one", "two", "three"])
    starts = []
    for row in rows:
        starts.append(1 + file.getvalue().count("\n"))
        writer.writerow(row)
    content = file.getvalue() if ended else file.getvalue()[: -len(newline)]
    original = lines.BLOCK
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "t.csv"
        path.write_bytes(content.encode())
        lines.BLOCK = block
        try:
            source = CsvSource(path)
            found, places = [], []
            for frame in source.frames({"three": "text", "one": "text", "two": "text"}):
                found += [tuple(value or "" for value in row) for row in frame.rows.rows()]
                places += [source.locate(frame, row) for row in range(frame.rows.height)]
        finally:
            lines.BLOCK = original
    assert found == [(three, one, two) for one, two, three in rows]
    assert places == starts
