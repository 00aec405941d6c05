"""Find wordings that read as translated: docstrings, comments, strings, test names and pages against tools/prose.txt.

    python tools/prose.py [--counts] [FILE ...]

Prints file:line, what was found, and the better wording; exits with 1 where there is something. `--counts` prints only
how often each rule applies. Text in fenced code blocks of pages is program output, and is left out; so are the pages
that a program writes.
"""

from __future__ import annotations

import io
import re
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RULES = Path(__file__).with_suffix(".txt")
FOLDERS = ("src", "tests", "recipes", "benchmarks", "docs", "tools")
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
LEFT_OUT = (
    "docs/benchmarks.md",
    "docs/cli.md",
    "docs/metrics.md",
    "docs/mutants.md",
    "docs/settings.md",
    "benchmarks/peers",
    "benchmarks/results",
)
FSTRING = getattr(tokenize, "FSTRING_MIDDLE", -1)


def rules() -> list[tuple[re.Pattern[str], str]]:
    """Each pattern with the wording that is better."""
    found = []
    for line in RULES.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            pattern, arrow, better = line.partition(" => ")
            if not arrow:
                sys.exit(f"{RULES.name}: expected PATTERN => BETTER, got {line!r}")
            found.append((re.compile(pattern, re.IGNORECASE), better.strip()))
    return found


def files() -> Iterator[Path]:
    """Every file that is checked."""
    for folder in FOLDERS:
        yield from sorted(path for kind in ("*.py", "*.md") for path in (ROOT / folder).rglob(kind))
    yield from (ROOT / page for page in PAGES)


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """(line number, prose on that line)."""
    text = path.read_text(encoding="utf-8")
    return _of_code(text) if path.suffix == ".py" else _of_page(text)


def _of_code(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING, FSTRING):
            for offset, line in enumerate(token.string.splitlines()):
                yield token.start[0] + offset, line
        elif token.type == tokenize.NAME and token.string.startswith("test_"):
            yield token.start[0], token.string.replace("_", " ")


def _of_page(text: str) -> Iterator[tuple[int, str]]:
    fenced = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, line


def main() -> None:
    every_rule = rules()
    arguments = [one for one in sys.argv[1:] if one != "--counts"]
    counts: Counter[str] = Counter()
    for path in [Path(one).resolve() for one in arguments] or files():
        name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)
        if name.startswith(LEFT_OUT) or path.name in ("prose.py", "prose.txt", "test_prose.py"):
            continue
        for number, line in lines_of(path):
            for pattern, better in every_rule:
                match = pattern.search(line)
                if match is not None:
                    counts[pattern.pattern] += 1
                    if "--counts" not in sys.argv:
                        print(f"{name}:{number}: {match.group()!r}: better: {better}")
    if "--counts" in sys.argv:
        for rule, count in counts.most_common():
            print(f"{count:5} {rule}")
    total = sum(counts.values())
    if total:
        print(f"{total} wordings to change; the rules are in tools/prose.txt")
    sys.exit(1 if total else 0)


if __name__ == "__main__":
    main()
