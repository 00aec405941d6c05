"""The table of tasks is light, unique and complete."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

import seqel.tasks.registry as registry
from seqel.tasks.registry import TASKS


def test_table() -> None:
    ids = [task.id for task in TASKS]
    assert len(set(ids)) == len(ids)
    locks = ["seqel/CombinationLock-v0", "seqel/FlatCombinationLock-v0"]
    mazes = [f"seqel/TMaze{length}-v0" for length in ("", 10, 20, 50, 100, 250, 500)]
    assert ids == [*mazes, "seqel/CarFlag-v0", "seqel/MemoryCards-v0", *locks, "seqel/ShuffledObjects-v0"]
    for task in TASKS:
        assert task.summary
        assert task.reference
        hash(task)
    with pytest.raises(FrozenInstanceError):
        TASKS[0].memory = 3  # type: ignore[misc]


def test_tasks_need_no_torch_and_load_late() -> None:
    program = """
import sys
import seqel.tasks.registry as registry
assert "gymnasium" not in sys.modules
registry.register()
assert "seqel.tasks.memory" not in sys.modules
import gymnasium
gymnasium.make("seqel/TMaze-v0").reset(seed=0)
assert "seqel.tasks.memory" in sys.modules
assert "torch" not in sys.modules
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(registry.__file__).parents[2])}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
