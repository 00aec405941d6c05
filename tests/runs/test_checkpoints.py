"""Checkpoints survive kill -9 at any moment, damage, and resuming from an earlier one; the last ones are kept."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import seqel.storage
from seqel.errors import CheckpointError, ConfigError, StorageError
from seqel.runs.checkpoints import CheckpointStore
from support import names

# Forks a child for each line on its input, so that torch is imported once; the child is what gets killed.
WORKER = """
import os, sys, time
from pathlib import Path
import torch
from seqel.runs.checkpoints import CheckpointStore

torch.set_num_threads(1)
store = CheckpointStore(Path(sys.argv[1]), keep=2)
tree = lambda step: {"step": step, "weights": torch.full((int(sys.argv[2]),), float(step))}

def fault(stage):
    if stage == wanted:
        print("reached", flush=True)
        time.sleep(60)

for line in sys.stdin:
    step, wanted = line.split()
    child = os.fork()
    if child == 0:
        print(os.getpid(), flush=True)
        for number in range(int(step), 10**6 if wanted == "never" else int(step) + 1):
            store.save(number, tree(number), fault=fault)
        os._exit(0)
    os.waitpid(child, 0)
    print("dead", flush=True)
"""


class Worker:
    """The forking process, and what the test sends to it."""

    def __init__(self, directory: Path, size: int) -> None:
        source = str(Path(seqel.storage.__file__).parents[1])
        environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(directory), str(size)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def start(self, step: int, stage: str) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{step} {stage}\n")
        self.process.stdin.flush()
        return int(self.line())

    def kill(self, child: int) -> None:
        os.kill(child, signal.SIGKILL)
        assert self.line() == "dead"

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def tree(step: int) -> dict[str, Any]:
    return {"step": step, "weights": torch.full((4,), float(step))}


def test_kill_at_every_stage(tmp_path: Path) -> None:
    worker = Worker(tmp_path, 1000)
    try:
        store = CheckpointStore(tmp_path)
        store.save(1, tree(1))
        stages = ["tree.json", "arrays.safetensors", "manifest.json", "sync", "rename"]
        for stage in stages:
            child = worker.start(2, stage)
            assert worker.line() == "reached"
            worker.kill(child)
            assert names(tmp_path) == [f".step-000000002.tmp-{child}", "step-000000001"]
            assert store.load()["step"] == 1
            assert store.warnings == ()
            store.save(1, tree(1))  # the next save sweeps up
            assert names(tmp_path) == ["step-000000001"]
        child = worker.start(2, "end")
        assert worker.line() == "reached"
        worker.kill(child)
        assert store.load()["step"] == 2, "after the rename the new one counts"
    finally:
        worker.close()


def test_kill_at_random_moments(tmp_path: Path) -> None:
    """Large enough that most of the time is spent writing; at least one kill must hit a half-written directory."""
    worker, rng = Worker(tmp_path, 500_000), random.Random(0)
    try:
        store = CheckpointStore(tmp_path)
        store.save(0, {"step": 0, "weights": torch.zeros(500_000)})
        step, halves = 0, 0
        for _ in range(15):
            child = worker.start(step + 1, "never")
            time.sleep(rng.uniform(0.01, 0.12))
            worker.kill(child)
            halves += any(path.name.endswith(f".tmp-{child}") for path in tmp_path.iterdir())
            loaded = store.load()
            assert store.warnings == (), "nothing under a valid name is ever damaged"
            assert loaded["step"] >= step
            assert (loaded["weights"] == loaded["step"]).all()
            step = loaded["step"]
        assert step > 0
        assert halves > 0
        store.save(step + 1, tree(step + 1))
        assert not [name for name in names(tmp_path) if name.startswith(".")]
    finally:
        worker.close()


def test_the_last_checkpoints_are_kept(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints", keep=2)
    assert store.latest() is None
    for step in (5, 123, 1_000_000_000, 10_000_000_000):
        path = store.save(step, tree(step))
        assert path == store.latest() == tmp_path / "checkpoints" / f"step-{step:09d}"
        assert store.load()["step"] == step
    assert names(tmp_path / "checkpoints") == ["step-1000000000", "step-10000000000"]
    assert store.load(tmp_path / "checkpoints" / "step-1000000000")["step"] == 1_000_000_000
    assert "steps=[10000000000, 1000000000]" in repr(store)


def test_nothing_is_pruned_when_saving_fails(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=1)
    store.save(1, tree(1))

    def full(stage: str) -> None:
        if stage == "sync":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for step in (1, 2):
        with pytest.raises(StorageError, match="No space left"):
            store.save(step, tree(9), fault=full)
        assert names(tmp_path) == ["step-000000001"]
        assert store.load()["step"] == 1


def test_a_damaged_newest_checkpoint_is_skipped_and_reported(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(1, tree(1))
    with (store.save(2, tree(2)) / "arrays.safetensors").open("r+b") as file:
        file.truncate(50)
    assert store.latest() == tmp_path / "step-000000001"
    assert store.load()["step"] == 1
    (warning,) = store.warnings
    assert "skipped step-000000002" in warning
    assert "arrays.safetensors: expected" in warning
    with pytest.raises(CheckpointError, match=r"arrays\.safetensors"):
        store.load(tmp_path / "step-000000002")
    store.save(3, tree(3))
    assert names(tmp_path) == ["step-000000001", "step-000000003"], "a damaged checkpoint does not count as kept"
    assert store.latest() == tmp_path / "step-000000003"
    assert store.warnings == ()


def test_resuming_from_an_earlier_checkpoint_removes_the_later_ones(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=3)
    for step in (10, 20, 30):
        store.save(step, tree(step))
    store.save(20, {"step": "20 again"})
    assert names(tmp_path) == ["step-000000010", "step-000000020"]
    assert store.load() == {"step": "20 again"}


def test_without_an_intact_checkpoint_the_error_lists_the_damaged_ones(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints")
    with pytest.raises(CheckpointError, match="expected an intact checkpoint"):
        store.load()
    (store.save(1, tree(1)) / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match=r"(?s)got none\n  skipped step-000000001: .*manifest\.json"):
        store.load()


def test_only_leftovers_of_dead_processes_are_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    living = os.getppid()
    kept = [f".step-000000007.tmp-{living}", ".other.tmp-1", "notes.txt"]
    for name in [
        f".step-000000007.tmp-{dead.pid}",
        f".step-000000007.old-{dead.pid}",
        f".step-000000007.tmp-{os.getpid()}",
    ]:
        (tmp_path / name).mkdir()
    for name in kept:
        (tmp_path / name).mkdir()
    CheckpointStore(tmp_path).save(8, tree(8))
    assert names(tmp_path) == sorted([*kept, "step-000000008"])


def test_settings_out_of_range_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="keep: expected at least 1"):
        CheckpointStore(tmp_path, keep=0)
    with pytest.raises(ConfigError, match="step: expected 0 or more"):
        CheckpointStore(tmp_path).save(-1, {})
