"""Two trainings in parallel: paced, reported, stopped together; `--compare` and the demo on tiny runs."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from seqel.cli import demo
from seqel.cli import paired_runs as twins
from seqel.cli.compare import judge
from seqel.cli.main import main
from seqel.cli.paired_runs import Child, ChildFailed, Message, Pace, Tell, run_together
from seqel.errors import SpaceError

TINY = {
    "network.width": 16, "network.heads": 2, "network.layers": 1, "threads": 1, "log_every": 200, "validation.every": 400,
    "validation.episodes": 4, "replay.learning_starts": 100, "replay.replay_ratio": 1.0,
    "learner.compile": "off", "vectorization": "sync",
}  # fmt: skip
SET = [word for name, value in TINY.items() for word in ("--set", f"{name}={value}")]


def talk(tell: Tell, count: int) -> None:
    print("this must not reach standard output")
    for number in range(count):
        tell({"number": number})


def fail(tell: Tell) -> None:
    raise SpaceError("no such space")


def die(tell: Tell) -> None:
    os._exit(3)


def start_a_process(tell: Tell) -> None:
    process = multiprocessing.get_context("spawn").Process(target=os.getpid)
    process.start()
    process.join()
    tell({"code": process.exitcode})


def wait_to_be_stopped(tell: Tell, path: str) -> None:
    try:
        tell({"ready": True})
        time.sleep(60)
    except KeyboardInterrupt:
        Path(path).write_text("saved")


def one_after_the_other(children: list[Child]) -> Any:
    """Do what `run_together` does, but in this process, one after the other."""
    for child in children:
        heard: list[dict[str, Any]] = []
        child.work(heard.append, **child.arguments)
        yield from (Message(child.name, what) for what in heard)
        yield Message(child.name, None)


def test_all_messages_of_both_arrive(capfd: pytest.CaptureFixture[str]) -> None:
    children = [Child("a", talk, 1, {"count": 3}), Child("b", talk, 1, {"count": 2})]
    messages: dict[str, list[Any]] = {"a": [], "b": []}
    for message in run_together(children):
        if message is not None:
            messages[message.name].append(message.what)
    assert messages == {
        "a": [{"number": 0}, {"number": 1}, {"number": 2}, None],
        "b": [{"number": 0}, {"number": 1}, None],
    }
    assert capfd.readouterr().out == ""


def test_a_child_may_start_processes_as_slow_environments_need() -> None:
    messages = [message for message in run_together([Child("a", start_a_process, 1)]) if message is not None]
    assert [message.what for message in messages] == [{"code": 0}, None]


@pytest.mark.parametrize(("work", "code", "says"), [(fail, SpaceError.exit_code, "no such space"), (die, 1, "code 3")])
def test_if_one_fails_the_other_saves_and_stops(work: Any, code: int, says: str, tmp_path: Path) -> None:
    path = tmp_path / "saved"
    patient = run_together([Child("patient", wait_to_be_stopped, 1, {"path": str(path)}), Child("bad", work, 1)])
    with pytest.raises(ChildFailed, match=says) as caught:
        for _ in patient:
            pass
    assert caught.value.exit_code == code and str(caught.value).startswith("bad: ")


def test_leaving_the_loop_asks_the_children_to_save(tmp_path: Path) -> None:
    path = tmp_path / "saved"
    running = run_together([Child("a", wait_to_be_stopped, 1, {"path": str(path)})])
    assert any(isinstance(message, Message) for message in running)  # stops at the first: it is ready
    running.close()  # type: ignore[attr-defined]
    assert path.read_text() == "saved"


def test_the_follower_stops_at_the_leaders_last_step() -> None:
    pace = Pace()
    pace.lead(100)
    assert pace.follow(100, math.inf), "at the leader's step: one more record is allowed"
    assert not pace.follow(101, time.time() + 0.1), "ahead: waits, until the deadline"
    assert not pace.follow(101, math.inf, asked=lambda: True)
    threading.Timer(0.1, lambda: pace.lead(150)).start()
    assert pace.follow(101, math.inf), "continues when the leader has caught up"
    pace.lead(200, final=True)
    assert pace.follow(199, math.inf) and not pace.follow(200, math.inf)
    assert pace.follow(299, math.inf, least=300) and not pace.follow(300, math.inf, least=300)


@pytest.mark.parametrize(
    ("history", "none", "says"),
    [
        ((0.9, 1.0), (0.4, 0.6), "helps here:"),
        ((0.1, 0.2), (0.4, 0.6), "does not help"),
        ((0.5, 1.0), (0.4, 0.6), "No diff"),
    ],
)
def test_the_verdict_follows_from_the_intervals(history: Any, none: Any, says: str) -> None:
    assert says in judge(history, none)


def test_compare_trains_both_equally_long_and_gives_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(twins, "run_together", one_after_the_other)
    out = tmp_path / "run"
    arguments = ["train", "seqel/TMaze-v0", "--env-arg", "length=4", "--steps", "800", "--out", str(out), *SET]
    assert main([*arguments, "--compare", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert set(found) == {"verdict", "folders", "picture", "evaluations"}
    assert Path(found["picture"]).read_bytes().startswith(b"\x89PNG")
    assert len(found["evaluations"]["without history"]["returns"]) == 100
    steps = [json.loads((Path(folder) / "summary.json").read_text())["steps"] for folder in found["folders"].values()]
    assert steps[0] == steps[1] >= 800
    assert main([*arguments, "--compare", "--memoryless"]) == 2

    again = ["train", "--compare", "--resume", str(out), "--json"]
    assert main(again) == 0  # both have ended and are only evaluated
    same = json.loads(capfd.readouterr().out)
    assert same["evaluations"] == found["evaluations"]
    assert main([*again, "--steps", "1200"]) == 0
    capfd.readouterr()
    steps = [json.loads((Path(folder) / "summary.json").read_text())["steps"] for folder in found["folders"].values()]
    assert steps[0] == steps[1] >= 1200
    assert main(["train", "--compare", "--resume", f"{out}-memoryless"]) == 2
    assert "folder of the other run" in capfd.readouterr().err
    assert main(["train", "--compare", "--resume", str(tmp_path / "nothing")]) == 2


def test_resuming_a_comparison_starts_a_twin_that_never_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(twins, "run_together", one_after_the_other)
    out = tmp_path / "run"
    assert main(["train", "seqel/TMaze-v0", "--env-arg", "length=4", "--steps", "500", "--out", str(out), *SET]) == 0
    assert main(["train", "--compare", "--resume", str(out)]) == 0
    said = capfd.readouterr().out
    assert "without history" in said and "comparison.png" in said.replace("\n", "")
    twin = json.loads((tmp_path / "run-memoryless" / "summary.json").read_text())
    assert twin["steps"] >= 500 and (out / "comparison.png").exists()


def test_ctrl_c_in_a_comparison_saves_both(tmp_path: Path) -> None:
    folders = tmp_path / "run", tmp_path / "run-memoryless"
    source = str(Path(__file__).parents[2] / "src")
    often = [f"--set={name}={value}" for name, value in (TINY | {"log_every": 20, "learner.compile": "off"}).items()]
    command = [sys.executable, "-m", "seqel.cli.main", "train", "seqel/TMaze10-v0", "--steps", "9000000", *often]
    process = subprocess.Popen(
        [*command, "--out", str(folders[0]), "--compare"],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    until = time.monotonic() + 180
    while time.monotonic() < until and not all((folder / "metrics.jsonl").exists() for folder in folders):
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to the whole group
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert out == "" and "Traceback" not in err
    assert f"--compare --resume {folders[0]}" in err.replace("\n", " ")
    for folder in folders:
        assert (folder / "summary.json").exists() and any((folder / "checkpoints").iterdir())


def test_the_demo_on_a_tiny_maze(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The demo learns a corridor of two steps, and explains the choice."""
    monkeypatch.setattr(demo, "TWIN_STEPS", 0)
    monkeypatch.setattr(demo, "run_together", one_after_the_other)
    settings = {"network.width": 32, "network.layers": 1, "validation.every": 500, "steps": 30_000, "log_every": 250}
    monkeypatch.setattr(demo, "SETTINGS", demo.SETTINGS | settings)
    out = tmp_path / "demo"
    assert main(["demo", "--length", "2", "--limit", "60", "--out", str(out), "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["learned"] is True
    runs = found["runs"]
    assert runs["with history"]["evaluation"]["success"] == 1.0 > runs["without history"]["evaluation"]["success"]
    attention = found["attention"]
    assert {attention["choice"], attention["choice_with_other_cue"]} == {"up", "down"}
    assert len(attention["weights"]) == 3 and sum(attention["weights"]) == pytest.approx(1.0, abs=1e-4)
    assert (out / "demo.png").exists() and (out / "agent" / "config.json").exists()


def test_the_demo_reports_that_it_has_not_learned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "TWIN_STEPS", 0)
    monkeypatch.setattr(demo, "run_together", one_after_the_other)
    out = tmp_path / "demo"
    assert main(["demo", "--length", "30", "--limit", "0.1", "--out", str(out)]) == 1
    said = capfd.readouterr().out
    assert "Not learned" in said and "remembers" not in said
    assert main(["demo", "--length", "0"]) == 2
