"""The benchmark of robustness: the loss of clean return, and the table of two agents."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import robustness
from robustness_tasks import TASKS
from seqel.training.config import preset


def _run(task: str, clean: list[float], area: float) -> dict[str, Any]:
    curves = {kind: {"area": area + place} for place, kind in enumerate(TASKS[task].curves)}
    return {"clean": clean, "curves": curves, "familiarity": {}}


def test_the_difference_of_clean_returns_is_a_share_of_the_plain_agents() -> None:
    found = {"plain": [_run("tmaze", [1.0, 0.6], 0.0)] * 2, "robust": [_run("tmaze", [0.9, 0.54], 0.0)] * 2}
    share, low, high = robustness.clean_difference(found, "robust")
    # each episode loses a tenth, so no resampling of episodes changes the share
    assert (share, low, high) == pytest.approx((-0.1, -0.1, -0.1))


def test_each_robust_agent_is_compared_with_the_plain_one(capsys: pytest.CaptureFixture[str]) -> None:
    found = {
        "plain": [_run("tmaze", [1.0], area) for area in (0.5, 0.7)],
        "robust": [_run("tmaze", [1.0], area) for area in (0.75, 0.95)],
        "hinge": [],  # not measured
    }
    robustness.report("tmaze", found)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| `noise`")]
    plain, robust, gain = "0.600 (0.500 to 0.700)", "0.850 (0.750 to 0.950)", "+0.250 (+0.250 to +0.250)"
    # 0.75 and 0.95 are each above 0.5 and 0.7
    assert rows == [f"| `noise` to 0.4 | {plain} | {robust} | {gain} | 1.00 (1.00 to 1.00) |"]


def test_nothing_is_compared_without_plain_agents(capsys: pytest.CaptureFixture[str]) -> None:
    robustness.report("tmaze", {"hinge": [_run("tmaze", [1.0], 0.5)]})
    assert "P(" not in capsys.readouterr().out


@pytest.mark.parametrize("name", TASKS)
def test_settings_and_curves_of_each_task_are_valid(name: str) -> None:
    task = TASKS[name]
    for added in task.agents.values():
        preset(**{**task.settings, **added})
    assert all(list(strengths) == sorted(set(strengths)) and strengths[0] == 0.0 for strengths in task.curves.values())
