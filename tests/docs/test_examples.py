"""The code on the pages runs as it is written, and every name and test that the pages mention exists.

A code block is executed if the line before it is `<!-- test -->`. `<!-- test: FILE -->` writes the block to a file instead,
`<!-- test needs: a b -->` skips the page where a module is not installed. The blocks of a page share one namespace and
one folder.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from seqel.cli.main import main

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FENCE = re.compile(
    r"^<!-- test(?P<what>[^>]*?) ?-->\n```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    language: str
    code: str
    line: int
    file: str
    needs: list[str]


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        what = match["what"].strip()
        needs = what.removeprefix("needs:").split() if what.startswith("needs:") else []
        file = what.removeprefix(":").strip() if what.startswith(":") else ""
        yield Block(match["language"], match["code"], text[: match.start("code")].count("\n"), file, needs)


PAGES = [page for page in sorted(DOCS.rglob("*.md")) if any(blocks(page))]


def test_every_tutorial_is_tested() -> None:
    tutorials = {page for page in (DOCS / "tutorials").glob("*.md") if page.name != "index.md"}
    assert tutorials <= set(PAGES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).with_suffix("").as_posix())
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    namespace: dict[str, Any] = {"__name__": "page"}
    try:
        for block in blocks(page):
            for module in block.needs:
                pytest.importorskip(module)
            if block.file:
                Path(block.file).write_text(block.code, encoding="utf-8")
            elif block.language == "python":
                source = "\n" * block.line + block.code  # so that a traceback names the line of the page
                exec(compile(source, str(page), "exec", dont_inherit=True), namespace)
            elif block.language == "bash":
                run_commands(block.code)
            else:
                pytest.fail(f"{page.name}:{block.line}: {block.language} cannot be executed")
    finally:
        for name in set(sys.modules) - before:  # the page's own modules
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
                del sys.modules[name]


def run_commands(code: str) -> None:
    for command in code.strip().splitlines():
        words = command.split("#")[0].split()
        assert words[0] == "seqel", command
        assert main(words[1:]) == 0, command


def test_every_name_of_the_api_reference_exists() -> None:
    names = re.findall(r"^::: (\S+)", (DOCS / "api.md").read_text(), re.MULTILINE)
    assert len(names) > 20
    for name in names:
        assert resolved(name) is not None, name


def test_every_public_name_is_in_the_api_reference() -> None:
    page = (DOCS / "api.md").read_text()
    for package in (
        "seqel",
        "seqel.compression",
        "seqel.datasets",
        "seqel.deployment",
        "seqel.evaluation",
        "seqel.explanation",
        "seqel.language",
        "seqel.monitoring",
        "seqel.ope",
        "seqel.tasks.customers",
        "seqel.tasks.opinion",
        "seqel.texts",
    ):
        for name in importlib.import_module(package).__all__:
            if not name.startswith("_"):
                assert re.search(rf"`{package}\.{name}`", page), f"docs/api.md lacks {package}.{name}"


def test_every_dotted_name_on_the_pages_exists() -> None:
    for page in sorted(DOCS.rglob("*.md")):
        for name in set(re.findall(r"`(seqel(?:\.[A-Za-z_]\w*)+)(?:\(\))?`", page.read_text(encoding="utf-8"))):
            assert resolved(name) is not None, f"{page.name}: {name}"


def test_every_test_that_the_invariants_name_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (DOCS / "invariants.md").read_text())
    assert len(named) > 20
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(), f"{file} has no {test}"


def test_the_page_of_settings_is_current() -> None:
    spec = importlib.util.spec_from_file_location("generate_settings", DOCS / "generate_settings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (DOCS / "settings.md").read_text(encoding="utf-8") == module.page(), "run: python docs/generate_settings.py"


def test_rules_that_tests_cite_are_on_the_page() -> None:
    page = (DOCS / "invariants.md").read_text()
    cited = {
        number
        for file in (ROOT / "tests").rglob("test_*.py")
        for number in re.findall(r"test_rule_(\d+)_", file.read_text(encoding="utf-8"))
    }
    assert cited
    for number in cited:
        assert f"## Rule {number}:" in page


def test_contributing_names_every_room() -> None:
    layers = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
    page = (ROOT / "CONTRIBUTING.md").read_text()
    for room in layers:
        assert f"`{room}`" in page or room == "__main__", f"CONTRIBUTING.md lacks {room}"


def test_links_between_pages_lead_somewhere() -> None:
    generated = {"cli.md", "metrics.md", "sharing.md", "mutants.md"}
    pages = [*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    for page in pages:
        for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)", page.read_text(encoding="utf-8")):
            file = (page.parent / target).resolve() if target else page
            if file.name in generated or file.suffix == ".png":
                continue
            assert file.exists(), f"{page.name}: {target}"
            if anchor:
                assert anchor[1:] in anchors(file), f"{page.name}: {target}{anchor}"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def resolved(name: str) -> Any:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part, None)
        return found
    return None
