"""A run's folder: its content, that every number in it is documented, and that TensorBoard shows no step twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import seqel
from seqel.errors import CheckpointError, ConfigError, StorageError
from seqel.integrity import sealed_line
from seqel.runs.api import _new_folder
from seqel.runs.folder import RunFolder
from seqel.runs.metrics import BEST, METRICS, VALIDATION, markdown
from seqel.training.config import preset
from seqel.training.config_file import load_config
from support import curves_drawn

TINY: dict[str, Any] = {
    "network.width": 16, "network.heads": 2, "network.layers": 1, "device": "cpu", "environments": 4,
    "validation.every": 300, "validation.episodes": 4, "replay.learning_starts": 100, "replay.replay_ratio": 1.0,
    "replay.batch_tokens": 64, "log_every": 100,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 600 steps, the last 200 of which are a resume."""
    path = tmp_path_factory.mktemp("runs") / "maze"
    seqel.train("seqel/TMaze10-v0", steps=400, out=path, settings=TINY, trackers=["tensorboard"], progress=False)
    with curves_drawn():
        seqel.resume(path, steps=600, progress=False)
    return path


def lines(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "crc32"} for line in found]


def test_the_content_of_a_run_folder(folder: Path) -> None:
    names = {path.name for path in folder.iterdir() if not path.name.startswith("events.out.tfevents")}
    parts = {"config.toml", "metrics.jsonl", "summary.json", "learning-curve.png", "checkpoints", "agent", "agent-last"}
    assert names == parts, "no temporary file is left"
    assert {path.name for path in (folder / "agent").iterdir()} == {"config.json", "weights.safetensors"}
    assert (folder / "learning-curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    config = load_config(folder / "config.toml")
    assert (config.network.context, config.replay.window, config.objective.discount) == (11, 11, 1.0)
    assert config.threads > 0, "the number of threads that compute a sum decides its last bits"


def test_records_are_in_order_and_plain_json(folder: Path) -> None:
    steps = [line["steps"] for line in lines(folder)]
    assert steps == [100, 200, 300, 400, 500, 600]
    seconds = [line["seconds"] for line in lines(folder)]
    assert seconds == sorted(seconds)

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    for line in (folder / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)


def test_the_summary_covers_the_whole_run(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    validations = [line for line in lines(folder) if "validation" in line]
    assert (summary["steps"], summary["updates"]) == (600, lines(folder)[-1]["updates"])
    assert summary["final"] == validations[-1] and summary["solved"] is False
    best = summary["best"]["validation"]
    kept = validations[-1]["best"]
    assert (summary["best"]["steps"], best["mean"], best["episodes"]) == (kept["steps"], kept["mean"], kept["episodes"])
    assert summary["final_is_below_best"] is False
    assert summary["seconds"] >= lines(folder)[-1]["seconds"]


def test_every_logged_number_is_documented_and_vice_versa(folder: Path) -> None:
    logged = {name for line in lines(folder) for name in line} | {"crc32"}
    assert logged <= {*METRICS, "validation", "best"}
    rare = {"solved", "notes", "robustness", "cost", "cost_ahead", "cost_multiplier"}
    assert set(METRICS) - logged == rare, "these are written only if there is something to report, or the term is on"
    assert {name for line in lines(folder) for name in line.get("validation", {})} == set(VALIDATION)
    assert {name for line in lines(folder) for name in line.get("best", {})} == set(BEST)
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
    with pytest.raises(ConfigError, match="already holds a run: continue it with --resume"):
        RunFolder.create(tmp_path / "taken", config)
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ConfigError, match="not empty and holds no run"):
        RunFolder.create(file, config)
    monkeypatch.chdir(tmp_path)
    assert [_new_folder(config, Path.cwd()).path.name for _ in range(3)] == [f"my_file-My-Env-{n}" for n in (1, 2, 3)]


def test_a_folder_that_another_run_took_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = preset(env="Some-v0")
    save = RunFolder.create
    rivals = iter([Path.cwd() / "runs/Some-v0-1"])

    def late(path: Path, config: Any) -> RunFolder:
        for rival in rivals:
            assert path == rival
            save(rival, config)
        return save(path, config)

    monkeypatch.setattr(RunFolder, "create", late)
    assert _new_folder(config, Path.cwd()).path == Path.cwd() / "runs/Some-v0-2"


def test_a_line_that_a_crash_cut_off_is_ignored(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", preset(env="Some-v0"))
    metrics = run.path / "metrics.jsonl"
    lines = [sealed_line({"steps": steps, "seconds": 1.0, "updates": 0}) + "\n" for steps in (100, 200, 300)]
    metrics.write_text("".join(lines) + '{"steps": 4')
    assert [line["steps"] for line in run.records()] == [100, 200, 300]
    assert run.truncate(200) == [], "a crash needs no report"
    assert metrics.read_text() == "".join(lines[:2])


def test_a_damaged_line_is_ignored_and_reported(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", preset(env="Some-v0"))
    metrics = run.path / "metrics.jsonl"
    lines = [sealed_line({"steps": n, "seconds": 1.0, "updates": 0}).encode() + b"\n" for n in (100, 200, 300, 400)]
    whole = b"".join(lines)
    for at in range(len(lines[0]) + 2, len(lines[0]) + len(lines[1]) - 1):
        for bit in range(8):
            metrics.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :])
            assert [line["steps"] for line in run.records()] == [100, 300, 400], (at, bit)
            assert run.damaged in ([2], [2, 3])  # a newline in the middle makes it two lines
    (note,) = run.truncate(300)
    assert "damaged lines were ignored (line 2" in note and "2 other records" in note
    assert metrics.read_bytes() == lines[0] + lines[2]


def test_an_impossible_folder_name_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="File name too long"):
        RunFolder.create(tmp_path / ("x" * 300), preset(env="Some-v0"))
    for path in (Path("x" * 300), Path("a\0b")):
        with pytest.raises(CheckpointError):
            RunFolder.open(path)


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"\n"], ids=["empty", "zeros", "newline"])
def test_the_error_for_an_empty_config_says_what_to_do(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(content)
    with pytest.raises(CheckpointError, match="remove the folder and train again"):
        RunFolder.open(tmp_path)
    (tmp_path / "agent").mkdir()
    with pytest.raises(CheckpointError, match=r"--env ENV.*put a copy"):
        RunFolder.open(tmp_path)


def test_an_edited_config_is_accepted_only_with_trust(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", preset(env="Some-v0")).close()
    path = tmp_path / "run" / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    RunFolder.open(tmp_path / "run")[0].close()  # a byte-order mark changes nothing
    path.write_text(path.read_text(encoding="utf-8-sig").replace("seed = 0", "seed = 7"))
    with pytest.raises(CheckpointError, match="--trust accepts it"):
        RunFolder.open(tmp_path / "run")
    run, config = RunFolder.open(tmp_path / "run", trust=True)
    run.close()
    assert config.seed == 7
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if "crc32" not in line))
    with pytest.raises(CheckpointError, match="missing or wrong"):
        RunFolder.open(tmp_path / "run")
