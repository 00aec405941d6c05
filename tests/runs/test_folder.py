"""A run's folder: what is in it, that every number in it is documented, and that TensorBoard shows no step twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import seqel
from seqel.errors import ConfigError
from seqel.runs.api import _new_folder
from seqel.runs.folder import RunFolder
from seqel.runs.metrics import METRICS, VALIDATION, markdown
from seqel.training.config import load_config, preset

TINY: dict[str, Any] = {
    "network.width": 16, "network.heads": 2, "network.layers": 1, "device": "cpu", "environments": 4,
    "validation.every": 300, "validation.episodes": 4, "replay.learning_starts": 100, "replay.replay_ratio": 1.0,
    "replay.batch_tokens": 64, "log_every": 100,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 600 steps, the last 200 of which are a resume."""
    path = tmp_path_factory.mktemp("runs") / "maze"
    seqel.train("seqel/TMaze10-v0", steps=400, out=path, settings=TINY, progress=False)
    seqel.resume(path, steps=600, progress=False)
    return path


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_what_is_in_it(folder: Path) -> None:
    names = {path.name for path in folder.iterdir() if not path.name.startswith("events.out.tfevents")}
    parts = {"config.toml", "metrics.jsonl", "summary.json", "learning-curve.png", "checkpoints", "agent"}
    assert names == parts, "and nothing temporary is left"
    assert {path.name for path in (folder / "agent").iterdir()} == {"config.json", "weights.safetensors"}
    assert (folder / "learning-curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    config = load_config(folder / "config.toml")
    assert (config.network.context, config.replay.window, config.objective.discount) == (11, 11, 1.0)
    assert config.threads > 0, "how many threads add up a sum decides its last bits"


def test_lines_rise_and_are_plain_json(folder: Path) -> None:
    steps = [line["steps"] for line in lines(folder)]
    assert steps == [100, 200, 300, 400, 500, 600]
    seconds = [line["seconds"] for line in lines(folder)]
    assert seconds == sorted(seconds)

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    for line in (folder / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)


def test_the_summary_is_about_the_whole_run(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    looks = [line for line in lines(folder) if "validation" in line]
    assert (summary["steps"], summary["updates"]) == (600, lines(folder)[-1]["updates"])
    assert summary["final"] == looks[-1] and summary["solved"] is False
    assert summary["best"]["validation"]["mean"] == max(look["validation"]["mean"] for look in looks)
    assert summary["seconds"] >= lines(folder)[-1]["seconds"]


def test_every_number_logged_is_documented_and_the_other_way_round(folder: Path) -> None:
    logged = {name for line in lines(folder) for name in line}
    assert logged <= {*METRICS, "validation"}
    assert set(METRICS) - logged == {"solved", "notes"}, "these are there when there is something to say"
    assert {name for line in lines(folder) for name in line.get("validation", {})} == set(VALIDATION)
    page = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert page.read_text().endswith(markdown()), "docs/metrics.md differs from seqel.runs.metrics.markdown()"


def test_tensorboard_shows_each_step_once(folder: Path) -> None:
    events = EventAccumulator(str(folder))
    events.Reload()
    tags = events.Tags()["scalars"]
    assert {"train/return", "train/q", "train/loss", "train/steps_per_second", "validation/return"} <= set(tags)
    assert [event.step for event in events.Scalars("train/return")] == [line["steps"] for line in lines(folder)]
    assert [event.step for event in events.Scalars("validation/return")] == [300, 400, 600]


def test_a_folder_belongs_to_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = preset(env="my_file:My/Env")
    RunFolder.create(tmp_path / "taken", config)
    with pytest.raises(ConfigError, match="holds a run already: go on with it by --resume"):
        RunFolder.create(tmp_path / "taken", config)
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ConfigError, match="not empty and holds no run"):
        RunFolder.create(file, config)
    monkeypatch.chdir(tmp_path)
    assert [_new_folder(config).path.name for _ in range(3)] == [f"my_file-My-Env-{n}" for n in (1, 2, 3)]


def test_a_folder_that_another_run_took_meanwhile_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = preset(env="Some-v0")
    save = RunFolder.create
    rivals = iter([Path("runs/Some-v0-1")])

    def late(path: Path, config: Any) -> RunFolder:
        for rival in rivals:
            assert path == rival
            save(rival, config)
        return save(path, config)

    monkeypatch.setattr(RunFolder, "create", late)
    assert _new_folder(config).path == Path("runs/Some-v0-2")


def test_a_line_that_a_crash_cut_off_is_left_out(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", preset(env="Some-v0"))
    metrics = run.path / "metrics.jsonl"
    metrics.write_text('{"steps": 100}\n{"steps": 200}\n{"steps": 300}\n{"steps": 4')
    assert [line["steps"] for line in run.records()] == [100, 200, 300]
    run.cut(200)
    assert metrics.read_text() == '{"steps": 100}\n{"steps": 200}\n'
