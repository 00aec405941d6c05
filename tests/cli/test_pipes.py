"""A reader that closes its end of the pipe, and programs that end themselves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seqel.cli.output import BROKEN_PIPE, Output, guarded

SOURCE = str(Path(__file__).parents[2] / "src")


@pytest.mark.parametrize("arguments", [["tasks"], ["tasks", "--json"], ["--help"], ["tasks", "--help"]], ids=" ".join)
def test_a_broken_pipe_ends_the_program_silently(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)  # there is no reader from the start
    done = subprocess.run(
        [sys.executable, "-m", "seqel.cli.main", *arguments],
        stdout=writing, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": SOURCE}, check=False,
    )  # fmt: skip
    os.close(writing)
    assert done.stderr == "" and done.returncode == BROKEN_PIPE == 141


def test_the_exception_that_rich_raises_for_a_broken_pipe_is_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    def work(output: Output) -> None:
        try:
            raise BrokenPipeError
        except BrokenPipeError:
            raise SystemExit(1)  # noqa: B904  (as rich does)

    assert guarded(work, as_json=False) == 141
    assert capsys.readouterr().err == ""
