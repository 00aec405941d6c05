"""`seqel watch`: an agent trained on own sentences, a file of messages, alerts, trends, the page, what is refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import seqel
from seqel.cli.main import main
from support_opinion import opinions
from support_watching import COMPANIES, make_agent, messages

COMMAND = ["watch", "run/agent-last", "--input", "messages.jsonl"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("watch")
    with (found / "sentences.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["result", "content"])
        for some in opinions().sentences.values():
            rows.writerows(
                (name, text)
                for name, texts in zip(("negative", "neutral", "positive"), some, strict=True)
                for text in texts
            )
    settings: dict[str, Any] = {
        "network.width": 16, "network.layers": 1, "network.context": 16, "network.previous_reward": False, "threads": 1,
        "device": "cpu", "validation.episodes": 4, "replay.learning_starts": 300, "learner.warmup": 10,
        # few hours, because an episode is learned from when it has ended
        "env_args": {
            "opinions": str(found / "sentences.csv"), "setting": {"companies": COMPANIES, "rate": 0.4}, "hours": 6.0,
        },
    }  # fmt: skip
    seqel.train(
        "seqel/OpinionMonitoring-v0", steps=700, settings=settings, out=found / "run", progress=False,
    )  # fmt: skip
    lines = [
        json.dumps({"time": one.time * 3600.0, "company": one.company, "text": one.text, "topic": "results"})
        for one in messages(120, 6)
    ]
    (found / "messages.jsonl").write_text("\n".join([*lines[:50], "oops", *lines[50:]]) + "\n")
    return found


@pytest.fixture
def here(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("run", "messages.jsonl", "sentences.csv"):
        (tmp_path / name).symlink_to(folder / name)
    monkeypatch.chdir(folder)
    return tmp_path


def test_watching(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*COMMAND, "--state", str(here / "s"), "--alerts", str(here / "a.jsonl"), "--budget", "1 per day"]
    assert main([*command, "--page", str(here / "p.html")]) == 0
    shown = capsys.readouterr()
    assert "messages.jsonl, line 51: skipped: expected a JSON object, got 'oops'" in shown.err
    assert "setting the threshold" in shown.err and "one false alarm about a company in 24 hours" in shown.err
    assert "120 messages" in shown.out and "1 malformed line" in shown.out and "Firm 3" in shown.out
    assert (here / "p.html").read_text().startswith("<!doctype html>")
    alerts = [json.loads(line) for line in (here / "a.jsonl").read_text().splitlines()]
    assert alerts and shown.out.count("ALERT") == len(alerts)
    assert main([*command, "--json"]) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert "setting the threshold" not in shown.err and "continuing after 120 messages" in shown.err
    assert found["messages"] == 120 and found["alerts"] == [] and found["alerts_given"] == len(alerts)
    assert found["companies"] == 6 and found["topics"][0]["name"] == "results"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--budget", "often"], "budget: expected a number of false alarms about one company"),
        (["--input", "-", "--follow"], "--follow: expected --input FILE"),
        (["--cooldown", "-1"], "--cooldown: expected a number of hours of at least 0, got -1"),
        (["--cooldown", "nan"], "--cooldown: expected a number of hours of at least 0, got nan"),
        (["--sentences", "none.csv"], "none.csv: expected a CSV file with the columns result and content"),
        (
            ["--input", "none.jsonl"],
            "--input: expected a file of messages (JSON lines), got none.jsonl, which does not exist",
        ),
        (["--input", "sentences.csv"], "sentences.csv, line 1: expected a JSON object, got 'result,content'"),
    ],
)
def test_what_is_refused(here: Path, changes: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*COMMAND, "--state", str(here / "s"), *changes]) in (2, 5)
    assert message in " ".join(capsys.readouterr().err.split())


def test_an_agent_that_learned_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its head is as it was made: all values are zero."""
    agent = make_agent()
    for parameter in agent.network.head.parameters():
        parameter.data.zero_()
    agent.save(here / "agent")
    command = ["watch", str(here / "agent"), "--input", "messages.jsonl", "--sentences", "sentences.csv"]
    assert main([*command, "--state", str(here / "s")]) == 2
    assert "got the same difference for all of them: train it for longer" in " ".join(capsys.readouterr().err.split())


def test_a_foreign_run_names_no_file(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sentences of a run that was not trained here are not opened, until they are named."""
    monkeypatch.setenv("XDG_STATE_HOME", str(here / "nothing"))
    command = [*COMMAND, "--state", str(here / "s"), "--budget", "1 per day"]
    assert main(command) == 2
    assert "its sentences are not known on this machine: expected --sentences FILE.csv" in " ".join(
        capsys.readouterr().err.split()
    )
    assert main([*command, "--sentences", "sentences.csv"]) == 0
