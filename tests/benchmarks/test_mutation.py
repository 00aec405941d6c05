"""`make mutants` finds the tests of every source, and refuses a name that a moved file has left behind."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def selection() -> ModuleType:
    spec = importlib.util.spec_from_file_location("selection", ROOT / "benchmarks" / "mutation" / "selection.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_source_has_tests_that_exist(selection: ModuleType) -> None:
    named = selection.named_tests()
    for path in selection.SOURCE.rglob("*.py"):
        for test in selection.tests_for(path, named):
            assert (ROOT / test).exists(), f"{path}: {test}"
    assert selection.tests_for(selection.SOURCE / "losses" / "terms" / "cql.py", named) == ["tests/losses"]
    assert selection.tests_for(selection.SOURCE / "training" / "offline" / "loop.py", named) == ["tests/training"]


def test_every_equivalent_mutant_is_of_a_line_that_exists(selection: ModuleType) -> None:
    assert len(selection.equivalent_mutants()) > 10


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ('file = "losses/gone.py"\nbefore = "x"', "there is no losses/gone.py"),
        ('file = "losses/td.py"\nbefore = "1 in no such line"', "losses/td.py does not hold 'no such line'"),
    ],
)
def test_an_equivalent_mutant_of_a_line_that_does_not_exist_is_refused(
    selection: ModuleType, tmp_path: Path, entry: str, says: str
) -> None:
    (tmp_path / "equivalent.toml").write_text(f'[[mutant]]\n{entry}\nwhy = ""\n')
    with pytest.raises(SystemExit, match=says):
        selection.equivalent_mutants(tmp_path / "equivalent.toml")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('"losses/gone.py" = ["tests/losses"]', "there is no src/seqel/losses/gone.py"),
        ('"losses/td.py" = ["tests/losses/test_gone.py"]', "there is no tests/losses/test_gone.py"),
    ],
)
def test_a_named_file_that_does_not_exist_is_refused(
    selection: ModuleType, tmp_path: Path, line: str, says: str
) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[tool.mutants.tests]\n{line}\n")
    with pytest.raises(SystemExit, match=says):
        selection.named_tests(tmp_path / "pyproject.toml")
