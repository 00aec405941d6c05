"""The recipe of recommendations, on a small table: its comparison, its lists, and the agent that it leaves."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from seqel.agents.agent import Agent
from support_recipes import load_recipe

pytest.importorskip("polars")


@pytest.fixture
def choices(tmp_path: Path) -> Path:
    """150 users who follow a series of ten films; later ones are rated higher."""
    chance, path = random.Random(0), tmp_path / "choices.csv"
    rows = ["user,item,time,rating"]
    for user in range(150):
        at = chance.randrange(10)
        for time in range(8):
            at += chance.choice([1, 1, 1, 2])
            rows.append(f"u{user},F{at % 10},{time * 150 + user},{1 + at % 10 // 2}")
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize("more", [[], ["--rating", "rating", "--test-share", "0.15"]], ids=["plain", "rated, by time"])
def test_it_compares_and_explains(
    choices: Path, tmp_path: Path, more: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = load_recipe("next_items")
    small = {"network.width": 16, "network.context": 8, "replay.window": 16, "replay.batch_tokens": 512, "threads": 1}
    monkeypatch.setattr(recipe, "SETTINGS", small | {"device": "cpu"})
    monkeypatch.setattr(recipe, "WEIGHTS", (0.0, 1.0))
    out = tmp_path / "run"
    monkeypatch.setattr(sys, "argv", ["next_items.py", str(choices), "--out", str(out), "--updates", "20", *more])
    recipe.main()
    shown = capsys.readouterr().out
    for name in ("popularity", "recent popularity", "neighbours", "EASE", "Seqel"):
        assert f"\n{name} " in shown
    assert "  because of F" in shown and ("value weight chosen" in shown) == bool(more)
    found = Agent.load(out)
    items, _ = found.rank(["F1", "F2"], k=3)
    assert len(items) == 3 and not {"F1", "F2"} & set(items)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--test-share", "0.5"], "--test-share: expected a share above 0 and below 0.5"),
        ([], "--out: expected a new folder"),
    ],
)
def test_arguments_that_are_refused(
    tmp_path: Path, more: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not more:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "notes.txt").write_text("")
    monkeypatch.setattr(sys, "argv", ["next_items.py", "none.csv", "--out", str(tmp_path / "run"), *more])
    with pytest.raises(SystemExit):
        load_recipe("next_items").main()
    assert message in capsys.readouterr().err
