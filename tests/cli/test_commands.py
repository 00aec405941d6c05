"""Each command on tiny runs, in this process: its output, the content of its JSON, and its refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest

from seqel.cli.main import COMMANDS, main
from support import curves_drawn

TINY = [
    "--set", "network.width=16", "--set", "network.heads=2", "--set", "network.layers=1", "--set", "threads=1",
    "--set", "validation.every=400", "--set", "validation.episodes=4", "--set", "replay.learning_starts=100",
    "--set", "replay.replay_ratio=1", "--set", "log_every=200",
]  # fmt: skip


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    said = capsys.readouterr()
    return code, said.out, said.err


def call_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code, out, _ = call(capsys, *arguments, "--json")
    assert out.count("\n") == 1, f"exactly one line: {out[:300]}"
    return code, json.loads(out)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "maze"
    with curves_drawn():
        assert main(["train", "seqel/TMaze10-v0", "--steps", "800", "--tensorboard", "--out", str(folder), *TINY]) == 0
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, command, "--help")
    assert code == 0
    assert "usage" in out.lower() and f"seqel {command}" in out and "examples" in out


def test_a_run_writes_everything_a_user_needs(run: Path) -> None:
    names = {path.name for path in run.iterdir()}
    assert {"config.toml", "metrics.jsonl", "summary.json", "learning-curve.png", "checkpoints", "agent"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line["steps"] for line in lines]
    assert steps == sorted(set(steps)) and steps[-1] >= 800
    assert (run / "learning-curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_json_of_evaluate_has_the_keys_of_evaluation(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = call_json(capsys, "evaluate", str(run), "--episodes", "6", "--seed", "3")
    assert code == 0
    figures = {"mean", "iqm", "interval", "success", "success_interval", "seed", "truncated", "cost", "cost_interval"}
    assert set(found) == figures | {"returns", "lengths", "successes", "costs"}
    assert len(found["returns"]) == 6 and found["seed"] == 3
    code, out, _ = call(capsys, "evaluate", str(run), "--episodes", "2", "--env-arg", "length=12")
    assert code == 0 and "13.0" in out, "a maze of length 12 has 13 steps"


def test_the_last_weights_are_evaluated_by_the_name_of_their_folder(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = call_json(capsys, "evaluate", str(run / "agent-last"), "--episodes", "2")
    assert code == 0 and len(found["returns"]) == 2, "the environment is that of the run's config.toml"


def test_resume_continues_and_keeps_one_history(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = call_json(capsys, "train", "--resume", str(run), "--steps", "1200")
    assert code == 0 and found["steps"] >= 1200
    steps = [json.loads(line)["steps"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))


def test_check_reports_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = call_json(capsys, "check", "MiniGrid-MemoryS7-v0", "--steps", "300")
    assert code == 0
    kinds = {leaf["path"]: leaf["kind"] for leaf in found["observation"]}
    assert kinds == {"direction": "categories", "image": "grid", "mission": "text"}
    assert found["actions"] == 7 and found["environment_steps_per_second"] > 0
    assert found["run"]["seconds"] > 0
    code, out, _ = call(capsys, "check", "CartPole-v1", "--steps", "200")
    assert code == 0 and "context" in out and "seqel train CartPole-v1" in out
    assert "16 environments in one process" in out


def test_check_takes_settings_and_repeats_them_in_its_advice(capsys: pytest.CaptureFixture[str]) -> None:
    settings = ("--set", "observation.mission=9", "--set", "network.width=32", "--set", "steps=5000")
    code, found = call_json(capsys, "check", "MiniGrid-MemoryS7-v0", "--steps", "100", *settings)
    assert code == 0 and {leaf["path"]: leaf["shape"] for leaf in found["observation"]}["mission"] == [9]
    assert found["run"]["steps"] == 5000
    code, out, _ = call(capsys, "check", "CartPole-v1", "--steps", "100", "--set", "network.width=32")
    assert code == 0 and "layers of width 32" in out and "seqel train CartPole-v1 --set network.width=32" in out
    code, _, said = call(capsys, "check", "CartPole-v1", "--set", "network.weight=32")
    assert code == 2 and "network.weight" in said


def test_check_names_envpool_if_it_has_the_environment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = types.ModuleType("envpool")
    engines.list_all_envs = lambda: ["CartPole-v1"]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "envpool", engines)
    _, out, _ = call(capsys, "check", "CartPole-v1", "--steps", "200")
    assert "--set vectorization=envpool" in " ".join(out.split())
    assert not call_json(capsys, "check", "seqel/TMaze10-v0", "--steps", "200")[1]["envpool"]


def test_tasks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = call_json(capsys, "tasks")
    assert code == 0 and "seqel/TMaze50-v0" in [task["id"] for task in found["tasks"]]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["check", "CartPole-v9"], "did you mean"),
        (["check", "no_such_module:Env"], "no module"),
        (["check", "Pendulum-v1"], "Discrete"),
        (["train", "CartPole-v1", "--steps", "-5"], "at least 1"),
        (["train", "CartPole-v1", "--set", "learner.learning_rat=1"], "did you mean learner.learning_rate"),
        (["train", "CartPole-v1", "--set", "learner.learning_rate=fast"], "a finite number"),
        (["train", "CartPole-v1", "--config", "{garbled}"], "not valid TOML"),
        (["train", "CartPole-v1", "--config", "nowhere.toml"], "no such file"),
        (["train"], "expected ENV"),
        (["train", "--resume", "nowhere"], "holds no run"),
        (["train", "CartPole-v1", "--out", "{run}"], "already holds a run"),
        (["evaluate", "nowhere"], "no agent"),
        (["evaluate", "{truncated}", "--env", "CartPole-v1"], "truncated"),
        (["evaluate", "{run}", "--env", "CartPole-v1"], "was trained on"),
        (["evaluate", "{run}", "--episodes", "0"], "at least 1"),
        (["trian", "CartPole-v1"], "did you mean train"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_failures_are_one_clear_message(
    arguments: list[str], says: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    garbled, truncated = tmp_path / "run.toml", tmp_path / "agent"
    garbled.write_text("steps = = 3")
    truncated.mkdir()
    for name in ("weights.safetensors", "config.json"):
        content = (run / "agent" / name).read_bytes()
        (truncated / name).write_bytes(content[:-50] if name.startswith("weights") else content)
    places = {"{garbled}": str(garbled), "{run}": str(run), "{truncated}": str(truncated)}
    code, out, err = call(capsys, *(places.get(argument, argument) for argument in arguments))
    assert code not in (0, 70), "refused, and not by accident"
    assert says in " ".join(err.split()) and "Traceback" not in err and out == ""


def test_with_json_a_failure_is_also_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = call_json(capsys, "check", "CartPole-v9")
    assert code == found["error"]["exit_code"] != 0 and "CartPole-v9" in found["error"]["message"]


def test_ctrl_c_saves_and_resume_continues(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "seqel.cli.main", "train"]
    source = str(Path(__file__).parents[2] / "src")
    environment = os.environ | {"PYTHONPATH": source}
    process = subprocess.Popen(
        [*command, "seqel/TMaze10-v0", "--steps", "10000000", "--out", str(folder), *TINY, "--set", "learner.compile=off"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    until = time.monotonic() + 60
    while not (folder / "metrics.jsonl").exists() and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in err and "Traceback" not in err
    steps = int(json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["steps"])
    code, found = call_json(capsys, "train", "--resume", str(folder), "--steps", str(steps + 500))
    assert code == 0 and found["steps"] >= steps + 500
