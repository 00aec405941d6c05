"""Ctrl-C and SIGTERM during a real training: it saves at an exact point, and continuing equals the uninterrupted run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import seqel
import support
from seqel.training.record import Record
from support import MAZE

STEPS = 800
TINY = support.TINY | {"environments": 2, "validation.every": 400, "replay.replay_ratio": 2.0}

# After three records the child waits until the signal was sent, so that it is interrupted in the middle.
PROGRAM = """
import pathlib, sys, time
import seqel
def wait(record):
    while record.steps >= 300 and not pathlib.Path(sys.argv[1] + ".signalled").exists():
        time.sleep(0.02)
if __name__ == "__main__":
    try:
        seqel.train({maze!r}, steps={steps}, out=sys.argv[1], settings={settings!r}, progress=wait)
    except KeyboardInterrupt as error:
        print(error)
        sys.exit(130)
"""


def lines(folder: Path) -> list[dict[str, Any]]:
    """Return the records without their wall-clock times and speeds."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if "second" not in name and name != "crc32"} for line in found]


def interrupted(folder: Path, settings: dict[str, Any], number: signal.Signals) -> tuple[int, str]:
    """Train in its own process group and send the signal to the whole group, as a terminal does with Ctrl-C."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1"}
    program = folder.with_suffix(".py")
    program.write_text(PROGRAM.format(maze=MAZE, steps=STEPS, settings=settings))
    process = subprocess.Popen(
        [sys.executable, str(program), str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        until, metrics = time.monotonic() + 60, folder / "metrics.jsonl"
        while time.monotonic() < until and not (metrics.exists() and metrics.read_text().count("\n") >= 3):
            time.sleep(0.02)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        folder.with_suffix(".signalled").touch()
        said, _ = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, said


@pytest.mark.parametrize(("number", "vectorization"), [(signal.SIGTERM, "sync"), (signal.SIGINT, "async")])
def test_an_interrupted_and_continued_run_equals_the_uninterrupted_one(
    number: signal.Signals, vectorization: str, tmp_path: Path
) -> None:
    settings = TINY | {"vectorization": vectorization}
    code, said = interrupted(tmp_path / "run", settings, number)
    assert code == 130, said
    assert "Traceback" not in said and f"--resume {tmp_path / 'run'}" in said
    before = lines(tmp_path / "run")
    assert 3 <= len(before) < STEPS // 100, "it was stopped in the middle"
    assert len(list((tmp_path / "run" / "checkpoints").glob("step-*"))) == 1

    seqel.resume(tmp_path / "run", progress=False)
    seqel.train(MAZE, steps=STEPS, out=tmp_path / "whole", settings=settings, progress=False)
    assert lines(tmp_path / "run") == lines(tmp_path / "whole")
    weights = [(tmp_path / name / "agent" / "weights.safetensors").read_bytes() for name in ("run", "whole")]
    assert weights[0] == weights[1]


def test_a_run_that_ended_before_its_first_checkpoint_restarts_from_its_config(tmp_path: Path) -> None:
    class Gone(Exception):
        """As if the power failed."""

    def leave(record: Record) -> None:
        if record.steps >= 500:
            raise Gone

    folder = tmp_path / "run"
    with pytest.raises(Gone):
        seqel.train(MAZE, steps=STEPS, seed=5, out=folder, settings=TINY, progress=leave)
    assert not list((folder / "checkpoints").glob("step-*"))
    assert len(lines(folder)) == 5
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"steps": 600, "seco')  # a line that was cut off
    config = (folder / "config.toml").read_bytes()
    seqel.resume(folder, progress=False)
    seqel.train(MAZE, steps=STEPS, seed=5, out=tmp_path / "whole", settings=TINY, progress=False)
    assert lines(folder) == lines(tmp_path / "whole")
    assert (folder / "config.toml").read_bytes() == config, "the config is written once"
