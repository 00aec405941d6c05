"""`seqel compress`: finds what the agent was trained on, shows tables, and says whether something was saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from seqel.agents.agent import Agent
from seqel.cli.main import main
from seqel.compression import compressing, judging
from seqel.compression.measuring import RelativeDrop
from seqel.runs.api import train
from support import MAZE, TINY


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "mine"
    train(MAZE, steps=300, out=folder, settings=TINY, progress=False)
    return folder


@pytest.fixture(autouse=True)
def without_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out exported versions, which take seconds; `tests/compression` has them."""
    monkeypatch.setattr(compressing, "EXTRA", ("seqel.no_such_module",))


QUICK = ("--updates", "5", "--steps", "64", "--episodes", "4", "--device", "cpu")


def test_the_run_names_its_environment_and_the_result_is_evaluated_like_a_run(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        judging, "relative_drop", lambda *_: RelativeDrop(0.01, 0.0, 0.03)
    )  # of an agent that has learned nothing yet
    out = tmp_path / "small"
    assert main(["compress", str(run), *QUICK, "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in found["variants"]] == ["full", "pruned", "distilled"]
    assert found["out"] == str(out) and list(found["saved"]) == ["agent"]
    full, _, distilled = found["variants"]
    assert distilled["parameters"] <= 0.25 * full["parameters"]
    assert sum(p.numel() for p in Agent.load(out).network.parameters()) == distilled["parameters"]
    assert main(["evaluate", str(out), "--episodes", "2", "--json"]) == 0
    played = json.loads(capsys.readouterr().out)
    assert len(played["returns"]) == 2
    again = [
        "compress",
        str(out / "agent"),
        *QUICK,
        "--target-size",
        "0.9",
        "--out",
        str(tmp_path / "b"),
    ]
    assert main(again) == 0  # an agent alone, which was compressed before
    text = capsys.readouterr().out
    assert "drop in mean return is at most 2.0%: the estimate decides" in " ".join(text.split())
    assert "its interval reaches a drop of 3.0%" in " ".join(text.split()) and "saved" in text
    assert main([*again[:-1], str(tmp_path / "c"), "--strict"]) == 1


def test_nothing_saved_is_said_and_is_the_exit_code_1(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "relative_drop", lambda *_: RelativeDrop(0.5, 0.4, 0.6))
    out = tmp_path / "small"
    assert main(["compress", str(run), *QUICK, "--out", str(out)]) == 1
    text = capsys.readouterr().out
    assert "Nothing was saved" in text and "a drop of 50.0% in return" in text
    assert not out.exists() and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--target-size", "0"], "target_size"),
        (["--max-drop", "-1"], "max_drop"),
        (["--int8", "perhaps"], "--int8"),
        (["--int8", "yes"], "serve"),
        (["--target-size", "0.001"], "pruning cannot reach"),
        (["--env", "CartPole-v1"], "trained on"),
    ],
)
def test_bad_arguments_are_refused(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], text: str
) -> None:
    assert main(["compress", str(run), *QUICK, "--out", str(tmp_path / "small"), *more]) > 1
    assert text in capsys.readouterr().err
    assert not (tmp_path / "small").exists()


def test_a_folder_that_exists_is_refused_before_any_work(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compress", str(run), "--out", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err
    (run.with_name("mine-compressed")).mkdir(exist_ok=True)
    assert main(["compress", str(run / "agent")]) == 2
    assert "mine-compressed exists already" in " ".join(capsys.readouterr().err.split())


def test_a_run_on_a_table_is_compressed_on_its_own_sessions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = ["who,when,seen,act,gain"]
    for session in range(30):
        rows += [f"s{session},{t},{(session * 7 + t * 3) % 11},{'ab'[(session + t) % 2]},{t % 3}" for t in range(6)]
    Path("table.csv").write_text("\n".join(rows) + "\n")
    Path("schema.toml").write_text(
        'session = "who"\norder = "when"\naction = "act"\nreward = "gain"\n[observation]\nseen = "number"\n'
    )
    small: dict[str, Any] = {
        "network.width": 16, "network.heads": 2, "network.layers": 2, "threads": 1, "device": "cpu", "offline.updates": 20,
        "offline.every": 10,
    }  # fmt: skip
    train(data="table.csv", schema="schema.toml", out="run", settings=small, progress=False)
    assert main(["compress", "run", *QUICK, "--max-drop", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metric"] == "agreement" and found["variants"][0]["held_out"] is not None
    assert Path("run-compressed/agent/config.json").exists()
    assert main(["compress", "run/agent", *QUICK, "--max-drop", "1", "--data", "table.csv", "--out", "other"]) == 0
    assert "as recorded" in capsys.readouterr().out
    assert main(["evaluate", "run-compressed", "--env", "CartPole-v1"]) == 3  # other spaces, but it loads
