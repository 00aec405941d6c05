"""The package as a whole: the time of `import seqel`, its public names, and which files may not import torch."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import seqel

SRC = Path(__file__).parents[1] / "src"
HEAVY = {"torch", "numpy", "scipy", "matplotlib", "gymnasium", "rich", "tyro", "tensorboard", "safetensors"}
LIMIT = 0.5  # seconds
TRIES = 5  # the fastest counts: a busy machine may be slow, but it is never too fast


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that sees this source tree."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(SRC), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


IMPORTS = """
import importlib, os, sys
for module in sys.argv[1:]:
    if os.fork() == 0:  # the child has imported nothing of the package yet
        importlib.import_module(module)
        print(module, *{name.partition(".")[0] for name in sys.modules}, flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture(scope="module")
def imported() -> dict[str, set[str]]:
    """Return the top-level packages that a fresh interpreter has loaded after importing a module, for each light module."""
    done = run(IMPORTS, *light_modules())
    found = {line.split()[0]: set(line.split()[1:]) for line in done.stdout.splitlines()}
    assert set(found) == set(light_modules()), done.stderr
    return found


def light_modules() -> list[str]:
    """Return every `__init__` and `config`, the types and the errors: what the command line always loads."""
    files = [
        *SRC.glob("seqel/**/__init__.py"),
        *SRC.glob("seqel/**/config.py"),
        SRC / "seqel/errors.py",
        SRC / "seqel/types.py",
    ]
    return sorted(".".join(file.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__") for file in files)


def test_import_is_light_and_quick(imported: dict[str, set[str]]) -> None:
    assert not imported["seqel"] & HEAVY
    code = "import time; begin = time.perf_counter(); import seqel; print(time.perf_counter() - begin)"
    best = min(float(run(code).stdout) for _ in range(TRIES))
    assert best <= LIMIT, f"import seqel took {best:.2f} s at best, and torch was not even loaded"


@pytest.mark.parametrize("module", light_modules())
def test_light_modules_leave_torch_and_numpy_alone(module: str, imported: dict[str, set[str]]) -> None:
    assert not imported[module] & {"torch", "numpy"}


def test_training_starts_without_scipy() -> None:
    """It takes a fifth of a second to import, and only some figures and classifiers need it."""
    done = run("import sys, seqel.runs.api; print('scipy' in sys.modules)")
    assert done.stdout.strip() == "False", done.stderr


def test_help_is_quick() -> None:
    code = "from seqel.cli.main import main; main()"
    best = float("inf")
    for _ in range(TRIES):
        begin = time.perf_counter()
        done = run(code, "--help")
        best = min(best, time.perf_counter() - begin)
        assert done.returncode == 0, done.stderr
        assert "train" in done.stdout
        if best <= LIMIT:
            break
    assert best <= LIMIT, f"seqel --help took {best:.2f} s at best of {TRIES}"


@pytest.mark.parametrize("name", seqel.__all__)
def test_every_public_name_can_be_accessed(name: str) -> None:
    assert name in dir(seqel)
    assert getattr(seqel, name) is not None
    assert getattr(seqel, name) is getattr(seqel, name), "a name is loaded once and kept"


def test_public_names_are_the_documented_ones() -> None:
    expected = {
        "Agent",
        "Evaluation",
        "Record",
        "RunConfig",
        "SeqelError",
        "__version__",
        "evaluate",
        "preset",
        "resume",
        "train",
        "tune_memory",
    }
    assert set(seqel.__all__) == expected
    for name in ("train", "resume", "evaluate", "preset"):
        assert callable(getattr(seqel, name)), f"seqel.{name} must stay a function: no package may take its name"


def test_an_unknown_name_is_an_attribute_error_that_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'trian'.*evaluate.*train"):
        seqel.trian  # noqa: B018


def test_package_says_that_it_is_typed() -> None:
    assert (SRC / "seqel/py.typed").exists()
