"""What `seqel train` shows at the end of a run: the best and the last weights, and whether the run ended below its best."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seqel.cli.output import Output
from seqel.cli.train_result import show_result
from seqel.integrity import sealed_line
from seqel.runs.folder import below


def line(steps: int, mean: float, interval: list[float | None] | None, episodes: int = 32) -> dict[str, Any]:
    validation = {"mean": mean, "interval": interval, "success": 0.5, "episodes": episodes}
    return {"steps": steps, "updates": steps // 10, "seconds": 1.0, "validation": validation}


BEST = line(400, 0.875, [0.8, 0.95], 64)


@pytest.mark.parametrize("low", [True, False])
def test_the_best_and_the_last_weights_are_shown_with_their_intervals(
    low: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    final = line(900, 0.625, [0.5, 0.75])
    summary = {
        "data": [], "steps": 900, "updates": 90, "seconds": 7.0, "best": BEST, "final": final, "final_is_below_best": low,
    }  # fmt: skip
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "metrics.jsonl").write_text("".join(sealed_line(one) + "\n" for one in (BEST, final)))
    found = show_result(tmp_path, Output(as_json=False))
    shown = " ".join(capsys.readouterr().out.split())
    assert (
        "best weights, in agent/: return 0.875 (95 % 0.800 to 0.950) in 64 episodes, success 50%, at 400 steps" in shown
    )
    assert (
        "last weights, in agent-last/: return 0.625 (95 % 0.500 to 0.750) in 32 episodes, success 50%, at 900" in shown
    )
    assert ("the run ended below its best" in shown) == low
    assert found["final"] == final


@pytest.mark.parametrize(
    ("final", "expected"),
    [
        (line(900, 0.625, [0.5, 0.75]), True),
        (line(900, 0.75, [0.6, 0.85]), False),  # they overlap
        (line(400, 0.625, [0.5, 0.75]), False),  # a part of the same episodes
        (line(900, 0.625, [None, None]), None),  # a single episode has no interval
        (line(900, 0.625, None), None),
    ],
)
def test_below_its_best_means_that_the_intervals_do_not_overlap(final: dict[str, Any], expected: bool | None) -> None:
    assert below(final, BEST) is expected
