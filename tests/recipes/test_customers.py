"""The recipe that docs/data.md shows: its estimate agrees with playing, and the policy is better than the record."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from seqel.cli.main import main
from seqel.ope import estimation

RECIPE = Path(__file__).parents[2] / "recipes" / "customers.py"
SMALL = ["--set", "replay.batch_tokens=256", "--set", "network.width=32", "--set", "threads=1"]
SMALLER = ["--set", "network.layers=1", "--set", "network.heads=2", "--set", "learner.learning_rate=2e-3"]


def follow(folder: Path, capsys: pytest.CaptureFixture[str], sessions: int, updates: int, fit: int, *more: str) -> None:
    """Write a table, train on it, estimate what the agent earns and serve new customers, as the recipe does."""
    sys.path.insert(0, str(RECIPE.parent))
    import customers

    table, schema, run = (str(folder / name) for name in ("sessions.csv", "schema.toml", "run"))
    customers.write_sessions(Path(table), sessions)
    Path(schema).write_text(customers.SCHEMA, encoding="utf-8")
    assert (
        main(["train", "--data", table, "--schema", schema, "--updates", str(updates), "--out", run, *SMALL, *more])
        == 0
    )
    capsys.readouterr()
    assert main(["evaluate", run, "--data", table, "--updates", str(fit), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    true, error = customers.play(Path(run), 500)
    value = found["policies"][0]["value"]
    assert true > 0.8  # an agent that forgets the first message earns at most half of that
    assert value["low"] - 2 * error <= true <= value["high"] + 2 * error
    assert abs(value["value"] - true) < 0.15
    assert found["verdict"].startswith("this agent is estimated to earn +")
    assert found["recorded"]["value"]["value"] < 0.4


@pytest.mark.usefixtures("small_fits")
def test_from_a_table_to_a_policy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimation, "MEMBERS", 4)  # the interval of two would be wider than the values are apart
    follow(tmp_path, capsys, 1_000, 400, 120, *SMALLER)


@pytest.mark.slow
def test_from_a_table_to_a_policy_with_the_fits_of_the_default_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    follow(tmp_path, capsys, 1_500, 800, 500)
