"""The report is one page that needs nothing else, and nothing in a table becomes part of its markup."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from seqel.cli.main import main

SCRIPT = "<script>alert(1)</script>"
QUOTE = '"><img src=x onerror=alert(1)>'


class Tags(HTMLParser):
    """The tags and attributes of a page, as a browser sees them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def report(folder: Path, text: str, *more: str) -> str:
    table, page = folder / "sessions.csv", folder / "report.html"
    table.write_text(text, encoding="utf-8")
    assert main(["data", "check", str(table), "--html", str(page), *more]) == 0
    return page.read_text(encoding="utf-8")


def rows(columns: str, *values: str) -> str:
    lines = [f"s{n // 4},{n % 4},{n * 0.37:.2f},{values[n % len(values)]},{n % 2}" for n in range(80)]
    return "\n".join([columns, *lines]) + "\n"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    text = rows("session,step,speed,action,reward", "go", "stay").replace(",0.74,", ",,")
    return report(tmp_path_factory.mktemp("report"), text)


def test_the_page_shows_every_part(page: str) -> None:
    for part in ("Reward per step", "Return per session", "Length of sessions", "Actions", "Missing values", "Schema"):
        assert part in page
    assert "speed" in page and "stay" in page and 'session = "session"' in page.replace("&quot;", '"')
    assert page.count("<svg") >= 4, "rewards, returns, lengths, speed"


def test_the_page_needs_nothing_from_elsewhere(page: str) -> None:
    seen = Tags(page)
    assert not {"script", "link", "img", "iframe", "object", "embed"} & {*seen.tags}
    assert not {"src", "href", "srcset", "action", "data"} & {name for name, _ in seen.attributes}
    assert "url(" not in page and "@import" not in page and "http" not in re.sub(r"http-equiv", "", page)
    assert "default-src 'none'" in page and len(page) < 2_000_000
    assert ("name", "viewport") in seen.attributes


def test_nothing_in_a_table_becomes_markup(tmp_path: Path) -> None:
    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    head = f"session,step,{cell('speed' + SCRIPT)},action,reward"
    found = report(tmp_path, rows(head, cell("go" + SCRIPT), cell("stay" + QUOTE)))
    seen = Tags(found)
    assert "script" not in seen.tags and "img" not in seen.tags
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert "&lt;script&gt;" in found, "it is shown as text"


def test_a_name_of_a_file_becomes_no_markup_either(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    table, out = folder / "<b onload=x>.csv", tmp_path / "report.html"
    table.write_text(rows("session,step,speed,action,reward", "go", "stay"))
    assert main(["data", "check", str(table), "--html", str(out)]) == 0
    assert "<b " not in out.read_text()


def test_many_actions_are_cut_and_long_names_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [f"action{n}" + "x" * 400 for n in range(60)]
    lines = [f"s{n // 4},{n % 4},{n}.5,{names[n % 60]},{n % 2}" for n in range(240)]
    found = report(tmp_path, "\n".join(["session,step,speed,action,reward", *lines]) + "\n", "--action", "action")
    assert "and 30 more" in found and len(found) < 500_000


def test_a_figure_of_the_page_is_that_of_the_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "sessions.csv"
    table.write_text(rows("session,step,speed,action,reward", "go", "stay"))
    assert main(["data", "check", str(table), "--html", str(tmp_path / "r.html"), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    shown = re.findall(r"<b>([^<]*)</b>", (tmp_path / "r.html").read_text())
    assert shown[:4] == [f"{found[name]:,}" for name in ("rows", "sessions", "transitions")] + [
        str(len(found["actions"]))
    ]
