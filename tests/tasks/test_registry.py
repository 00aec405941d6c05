"""The table of tasks is light, unique and complete."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from dataclasses import FrozenInstanceError
from pathlib import Path

import gymnasium
import pytest
from gymnasium.utils.env_checker import check_env

import seqel.tasks.registry as registry
from seqel.environments.probe import probe
from seqel.environments.resolve import resolve
from seqel.tasks.registry import TASKS


def test_table() -> None:
    ids = [task.id for task in TASKS]
    assert len(set(ids)) == len(ids)
    locks = ["seqel/CombinationLock-v0", "seqel/FlatCombinationLock-v0"]
    mazes = [f"seqel/TMaze{length}-v0" for length in ("", 10, 20, 50, 100, 250, 500)]
    mazes += [f"seqel/ActiveTMaze{length}-v0" for length in ("", 10, 20, 100)]
    older = ["seqel/CarFlag-v0", "seqel/Courier-v0", "seqel/MemoryCards-v0", *locks, "seqel/ShuffledObjects-v0"]
    colours = [f"seqel/RecallColour{count}-v0" for count in ("", 8, 30)]
    newer = [
        "KeyToDoor",
        "BanditTrials",
        "Copy",
        "AssociativeRecall",
        "MazeSearch",
        "Wordle",
        "CustomerService",
        "CustomerShortlist",
        "RetrievedCustomers",
        "OpinionMonitoring",
        "Recommend",
    ]
    assert ids == [*mazes, *older, *colours, *(f"seqel/{name}-v0" for name in newer)]
    for task in TASKS:
        assert task.summary
        assert task.reference
        hash(task)
    with pytest.raises(FrozenInstanceError):
        TASKS[0].memory = 3  # type: ignore[misc]


@pytest.mark.parametrize("task", [task for task in TASKS if not task.needs], ids=lambda task: task.id)
def test_gymnasium_finds_nothing_wrong(task: registry.Task) -> None:
    registry.register()
    env = gymnasium.make(task.id).unwrapped
    modes = env.metadata.get("render_modes", [])
    checked = gymnasium.make(task.id, render_mode=modes[0]).unwrapped if modes else env
    checked.action_space.seed(1)  # the checker ignores masks, and Wordle refuses letters that begin no word
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(checked, skip_render_check=not modes)


@pytest.mark.parametrize("task", [task for task in TASKS if not task.needs], ids=lambda task: task.id)
def test_an_agent_can_play_every_task(task: registry.Task) -> None:
    found = probe(resolve(task.id), steps=600, episodes=2)
    assert found.reports_success or found.reports_cost
    assert all(warning.startswith("random play got no reward") for warning in found.warnings), found.warnings
    if task.suggested:
        assert found.suggested == task.suggested


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
