"""Start-up is fast: `--help` and `--version` import nothing slow, and take less than half a second."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

SOURCE = str(Path(__file__).parents[2] / "src")
HEAVY = ("torch", "numpy", "gymnasium", "rich", "tyro", "scipy", "matplotlib")


def ask(code: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": SOURCE}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60, check=False
    )


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(flag: str) -> None:
    done = ask(
        "import sys\nfrom seqel.cli.main import main\n"
        f"code = main([{flag!r}])\nprint(*(set(sys.modules) & set({HEAVY!r})), file=sys.stderr)\nsys.exit(code)"
    )
    assert done.returncode == 0 and "seqel" in done.stdout
    assert done.stderr.split() == []


def test_help_takes_at_most_half_a_second() -> None:
    def seconds() -> float:
        began = time.perf_counter()
        assert ask("import sys\nfrom seqel.cli.main import main\nsys.exit(main(['--help']))").returncode == 0
        return time.perf_counter() - began

    assert min(seconds() for _ in range(3)) <= 0.5  # the best of three: the machine may be busy


def test_without_a_command_the_usage_is_printed() -> None:
    done = ask("import sys\nfrom seqel.cli.main import main\nsys.exit(main([]))")
    assert done.returncode == 2 and done.stdout == "" and "usage: seqel" in done.stderr
