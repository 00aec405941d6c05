"""`seqel.train` and `seqel.resume`: the folder, the best agent, damage, a full disk, and a kill in the middle of a write."""

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
from seqel.errors import CheckpointError, ConfigError, NonFiniteError, StorageError
from seqel.training.metrics import METRICS
from seqel.training.online import Record

TINY: dict[str, Any] = {
    "network.width": 16, "network.heads": 2, "network.layers": 1, "threads": 1, "device": "cpu", "environments": 4,
    "evaluation.every": 300, "evaluation.episodes": 4, "replay.learning_starts": 100, "replay.replay_ratio": 1.0,
    "replay.batch_tokens": 64, "log_every": 100,
}  # fmt: skip
MAZE = "seqel/TMaze10-v0"


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_agent_returned_is_the_best_by_validation_and_plays_as_recorded(tmp_path: Path) -> None:
    records: list[Record] = []
    agent = seqel.train(MAZE, steps=1_500, seed=1, out=tmp_path / "run", settings=TINY, progress=records.append)
    looks = [record.validation for record in records if record.validation is not None]
    best = max(look.mean for look in looks)
    assert agent.info["validation"]["mean"] == best
    from seqel.environments.resolve import resolve
    from seqel.evaluation.rollout import play
    from seqel.training.session import VALIDATION_SEED

    assert play(agent, resolve(MAZE), 4, VALIDATION_SEED, 4).mean == pytest.approx(best)
    assert [line["steps"] for line in lines(tmp_path / "run")] == [record.steps for record in records]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["best"]["validation"]["mean"] == best and summary["steps"] >= 1_500


def test_every_metric_logged_is_documented(tmp_path: Path) -> None:
    seqel.train(MAZE, steps=400, out=tmp_path / "run", settings=TINY, progress=False)
    known = {"steps", "seconds", "updates", "validation", "notes", *METRICS}
    assert {name for line in lines(tmp_path / "run") for name in line} <= known


def test_a_function_that_makes_the_environment_is_resumed_with_it(tmp_path: Path) -> None:
    from support import Scripted

    folder = tmp_path / "run"
    seqel.train(Scripted, steps=300, out=folder, settings=TINY, progress=False)
    with pytest.raises(seqel.SeqelError, match=r"pass it: seqel\.resume"):
        seqel.resume(folder, steps=600, progress=False)
    seqel.resume(folder, env=Scripted, steps=600, progress=False)
    assert lines(folder)[-1]["steps"] >= 600


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        seqel.train(MAZE, steps=300, out=tmp_path, settings=TINY, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(CheckpointError, match="holds no run"):
        seqel.resume(tmp_path)


def test_a_damaged_newest_checkpoint_is_passed_over_and_said(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    seqel.train(MAZE, steps=400, out=folder, settings=TINY, progress=False)
    seqel.resume(folder, steps=800, progress=False)
    older, newest = sorted((folder / "checkpoints").iterdir())
    arrays = newest / "arrays.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:-10])
    records: list[Record] = []
    seqel.resume(folder, steps=1_000, progress=records.append)
    assert any("skipped" in note for note in records[0].notes)
    assert records[0].steps <= int(older.name.removeprefix("step-")) + 200
    steps = [line["steps"] for line in lines(folder)]
    assert steps == sorted(set(steps)), "the records after the older checkpoint were written anew"


def test_a_nan_stops_the_run_and_names_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    seqel.train(MAZE, steps=400, out=folder, settings=TINY, progress=False)
    weights = (folder / "agent" / "weights.safetensors").read_bytes()
    from seqel.training.learner import Learner

    update = Learner.update

    def poisoned(self: Learner, batch: Any, done: float = 0.0) -> Any:
        batch.reward[0, 0] = float("nan")
        return update(self, batch, done)

    monkeypatch.setattr(Learner, "update", poisoned)
    with pytest.raises(NonFiniteError, match=r"a reward in the batch is not finite.*last good checkpoint is .*step-"):
        seqel.resume(folder, steps=800, progress=False)
    assert (folder / "agent" / "weights.safetensors").read_bytes() == weights


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/sys").exists(), reason="needs a place that refuses writes")
def test_a_place_that_refuses_writes_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        seqel.train(MAZE, steps=300, out="/proc/sys/seqel-run", settings=TINY, progress=False)


SLOW_WRITER = """
import sys, time, pathlib
import seqel.storage as storage
write = storage._write
def slowly(path, data):
    write(path, data[: len(data) // 2]); pathlib.Path(sys.argv[2]).touch(); time.sleep(0.2); write(path, data)
storage._write = slowly
import seqel
seqel.train({maze!r}, steps=10_000_000, out=sys.argv[1], settings={settings!r}, progress=False)
"""


def test_kill_9_in_the_middle_of_a_checkpoint_leaves_the_one_before(tmp_path: Path) -> None:
    folder, writing = tmp_path / "run", tmp_path / "writing"
    settings = TINY | {"checkpoint_every": 1}
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    program = SLOW_WRITER.format(maze=MAZE, settings=settings)
    process = subprocess.Popen([sys.executable, "-c", program, str(folder), str(writing)], env=environment)
    until = time.monotonic() + 90
    while time.monotonic() < until and not list((folder / "checkpoints").glob("step-*")):
        time.sleep(0.05)
    writing.unlink(missing_ok=True)
    while time.monotonic() < until and not writing.exists():  # a file of the next checkpoint is half written
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = sorted((folder / "checkpoints").glob("step-*"))
    assert kept, "an earlier checkpoint is there"
    at = int(kept[-1].name.removeprefix("step-"))
    records: list[Record] = []
    seqel.resume(folder, steps=at + 500, progress=records.append)
    assert records[0].steps > at and records[-1].steps >= at + 500
    assert not list((folder / "checkpoints").glob(".step-*")), "what the dead process left is swept"
