"""The page: what it shows, that nothing in a message becomes markup, and that nothing is loaded from elsewhere."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from seqel.watching.messages import Message
from seqel.watching.page import bars, write_page
from support_watching import START, make_watcher


def test_the_page(tmp_path: Path) -> None:
    watcher = make_watcher()
    watcher.calibration = replace(watcher.calibration, alone=-np.inf)  # of companies without a group, as these
    write_page(watcher, tmp_path / "empty.html")
    assert "0 messages about 0 companies, 0 alerts" in (tmp_path / "empty.html").read_text()
    watcher.read(
        [
            Message(START, "<script>alert(1)</script>", "Losses & <b>more</b>", topic="A&B"),
            Message(START + 1.0, "宝洁", "Profits grow at 3", topic="other"),
        ]
    )
    write_page(watcher, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert (
        "<script" not in text and "&lt;script&gt;" in text and "Losses &amp; &lt;b&gt;more" in text and "宝洁" in text
    )
    assert "Threshold -inf, in groups inf: one false alarm" in text and "hour (UTC)" in text
    assert "<h1>Messages of the 24 hours to 2025-11-24 18:00 UTC</h1>" in text
    assert "2 messages about 2 companies, 2 alerts" in text and "A&amp;B" in text and text.count("<svg") == 1
    # names of XML vocabularies are the only addresses
    assert set(re.findall(r"https?://[^\"'<> ]+", text)) <= {
        "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink", "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
        "http://creativecommons.org/ns#", "http://purl.org/dc/elements/1.1/", "http://purl.org/dc/dcmitype/StillImage",
        "https://matplotlib.org/",
    }  # fmt: skip
    write_page(watcher, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == text
    watcher.read([Message(START + 40.0, "宝洁", "Profits grow at 3")])
    write_page(watcher, tmp_path / "later.html")
    assert "1 message about 1 company, 1 alert. " in (tmp_path / "later.html").read_text(encoding="utf-8")


def test_bars() -> None:
    assert bars((0, 1, 2, 4, 7)) == "▁▂▃▅█" and bars((0, 0)) == "▁▁" and bars(()) == ""
