"""Which tests run against a file's mutants, and which mutants are excluded because they are equivalent to the original."""

from __future__ import annotations

import tomllib
from pathlib import Path

__all__ = ["EQUIVALENT", "ROOT", "SOURCE", "equivalent_mutants", "named_tests", "tests_for"]

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "seqel"
EQUIVALENT = Path(__file__).with_name("equivalent.toml")


def named_tests(file: Path = ROOT / "pyproject.toml") -> dict[str, list[str]]:
    """Return `[tool.mutants.tests]`: the beginning of a path below src/seqel -> its tests.

    Raises SystemExit if a source or a test does not exist.
    """
    found: dict[str, list[str]] = tomllib.loads(file.read_text(encoding="utf-8"))["tool"]["mutants"]["tests"]
    for start, tests in found.items():
        for path in (SOURCE / start, *(ROOT / test for test in tests)):
            if not path.exists():
                raise SystemExit(f"{file.name}, tool.mutants.tests, {start!r}: there is no {path.relative_to(ROOT)}")
    return found


def equivalent_mutants(file: Path = EQUIVALENT) -> list[dict[str, str]]:
    """Return the entries of `equivalent.toml`.

    Raises SystemExit if the file of an entry does not exist or does not hold the line that the entry names.
    """
    entries: list[dict[str, str]] = tomllib.loads(file.read_text(encoding="utf-8")).get("mutant", [])
    for entry in entries:
        path, line = SOURCE / entry["file"], entry["before"].split(" in ", maxsplit=1)[-1]
        if not path.exists():
            raise SystemExit(f"{file.name}: there is no {entry['file']}")
        if line not in " ".join(path.read_text(encoding="utf-8").split()):
            raise SystemExit(f"{file.name}: {entry['file']} does not hold {line!r}")
    return entries


def tests_for(path: Path, named: dict[str, list[str]]) -> list[str]:
    """Return the tests that `named` gives for the file, or else those of its room (of the nearest folder that has tests)."""
    relative = path.relative_to(SOURCE)
    found = [test for start, tests in named.items() if relative.as_posix().startswith(start) for test in tests]
    room = Path("tests", *relative.parts[:-1])
    while not (ROOT / room).exists():
        room = room.parent
    return found or [str(room)]
