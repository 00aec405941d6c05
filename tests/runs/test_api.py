"""`seqel.train` and `seqel.resume`: the folder, the best agent, damage, a full disk, and a kill during a write."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
import pytest

import seqel
import seqel.storage
from seqel.errors import CheckpointError, ConfigError, NonFiniteError, StorageError
from seqel.training.record import Record
from support import MAZE, TINY


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of 800 steps."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    seqel.train(MAZE, steps=800, out=folder, settings=TINY, progress=False)
    return folder


def timeless(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the records without times and speeds."""
    return [{k: v for k, v in line.items() if k not in ("seconds", "steps_per_second", "crc32")} for line in records]


def same_run(one: Path, other: Path) -> bool:
    """Return whether both have the same records, the same best agent, and bit-identical last checkpoints."""
    assert timeless(lines(one)) == timeless(lines(other))
    newest = [max((folder / "checkpoints").iterdir()) for folder in (one, other)]
    arrays = [(path / "arrays.safetensors").read_bytes() for path in newest]
    trees = [json.loads((path / "tree.json").read_text()) for path in newest]
    for tree in trees:
        del tree["dict"]["seconds"]
    assert newest[0].name == newest[1].name and trees[0] == trees[1] and arrays[0] == arrays[1]
    weights = [(folder / "agent" / "weights.safetensors").read_bytes() for folder in (one, other)]
    return weights[0] == weights[1]


def test_the_returned_agent_is_the_best_by_validation_and_plays_as_recorded(tmp_path: Path) -> None:
    records: list[Record] = []
    agent = seqel.train(MAZE, steps=1_500, seed=1, out=tmp_path / "run", settings=TINY, progress=records.append)
    best = records[-1].best
    assert best is not None and cast(Any, agent.info["validation"])["mean"] == best.evaluation.mean
    (chosen,) = [record.validation for record in records if record.steps == best.steps and record.validation]
    from seqel.environments.resolve import resolve
    from seqel.environments.seeds import VALIDATION
    from seqel.evaluation.rollout import Evaluation, play

    assert isinstance(chosen, Evaluation) and chosen.seed in VALIDATION
    assert play(agent, resolve(MAZE), 4, chosen.seed, 4).returns == chosen.returns == best.evaluation.returns[:4]
    assert [line["steps"] for line in lines(tmp_path / "run")] == [record.steps for record in records]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["best"]["validation"]["mean"] == best.evaluation.mean and summary["steps"] >= 1_500


def test_a_run_with_an_environment_function_is_resumed_with_it(tmp_path: Path) -> None:
    from support import Scripted

    folder = tmp_path / "run"
    seqel.train(Scripted, steps=300, out=folder, settings=TINY, progress=False)
    with pytest.raises(seqel.SeqelError, match=r"pass it: seqel\.resume"):
        seqel.resume(folder, steps=600, progress=False)
    seqel.resume(folder, env=Scripted, steps=600, progress=False)
    assert lines(folder)[-1]["steps"] >= 600


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not empty"):
        seqel.train(MAZE, steps=300, out=tmp_path, settings=TINY, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(CheckpointError, match="holds no run"):
        seqel.resume(tmp_path)


def test_a_damaged_newest_checkpoint_is_skipped_and_reported(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    seqel.train(MAZE, steps=400, out=folder, settings=TINY, progress=False)
    seqel.resume(folder, steps=800, progress=False)
    older, newest = sorted((folder / "checkpoints").iterdir())
    arrays = newest / "arrays.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:-10])
    records: list[Record] = []
    seqel.resume(folder, steps=1_000, progress=records.append)
    assert any("skipped" in note for note in records[0].notes)
    assert records[0].steps <= int(older.name.removeprefix("step-")) + 200
    steps = [line["steps"] for line in lines(folder)]
    assert steps == sorted(set(steps)), "the records after the older checkpoint were written again"


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    seqel.train(MAZE, steps=400, out=folder, settings=TINY, progress=False)
    before = lines(folder)
    again: list[Record] = []
    assert cast(Any, seqel.resume(folder, progress=again.append).info["validation"])["steps"] == before[-1]["steps"]
    assert again == [] and lines(folder) == before
    with pytest.raises(ConfigError, match="at least the 400 already done, got 200"):
        seqel.resume(folder, steps=200, progress=False)
    seqel.resume(folder, steps=600, progress=False)
    assert [line["steps"] for line in lines(folder)] == [100, 200, 300, 400, 500, 600]
    assert "steps = 600\n" in (folder / "config.toml").read_text()


def test_a_run_that_reached_its_threshold_is_finished(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    solved = TINY | {"validation.threshold": -10.0, "validation.stop": True, "validation.confirm": 4}
    seqel.train(MAZE, steps=5_000, out=folder, settings=solved, progress=False)
    assert lines(folder)[-1]["steps"] == 300 and lines(folder)[-1]["solved"]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["solved"] and summary["steps_to_threshold"] == 300 and summary["seconds_to_threshold"] > 0
    again: list[Record] = []
    seqel.resume(folder, progress=again.append)
    assert again == []
    seqel.resume(folder, steps=700, progress=again.append)
    assert again[-1].steps == 600  # the next validation finds it solved again


def test_resume_before_the_first_checkpoint_starts_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    seqel.train(MAZE, steps=400, out=folder, settings=TINY, progress=False)
    before, weights = lines(folder), (folder / "agent" / "weights.safetensors").read_bytes()
    shutil.rmtree(folder / "checkpoints")
    seqel.resume(folder, progress=False)
    assert timeless(lines(folder)) == timeless(before)
    assert (folder / "agent" / "weights.safetensors").read_bytes() == weights


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_and_resumed_run_equals_the_uninterrupted_one(
    number: signal.Signals, whole: Path, tmp_path: Path
) -> None:
    handler = signal.getsignal(number)

    def interrupt(record: Record) -> None:
        if record.steps == 300:
            signal.raise_signal(number)

    folder = tmp_path / "parts"
    with pytest.raises(KeyboardInterrupt, match=r"stopped and saved at 300 steps.*--resume .*parts"):
        seqel.train(MAZE, steps=800, out=folder, settings=TINY, progress=interrupt)
    assert signal.getsignal(number) == handler
    assert (folder / "learning-curve.png").exists() and (folder / "agent").exists()
    seqel.resume(folder, progress=False)
    assert same_run(folder, whole)


def test_a_second_interruption_takes_effect_at_once(tmp_path: Path) -> None:
    def interrupt(record: Record) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="at once"):
        seqel.train(MAZE, steps=400, out=tmp_path / "run", settings=TINY, progress=interrupt)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_settings_that_do_not_fit_the_checkpoint_are_reported(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    seqel.train(MAZE, steps=300, out=folder, settings=TINY, progress=False)
    config = (folder / "config.toml").read_text()
    (folder / "config.toml").write_text(config.replace("width = 16", "width = 24"))
    with pytest.raises(CheckpointError, match=r"config\.toml was changed since it was written"):
        seqel.resume(folder, steps=600, progress=False)
    with pytest.raises(CheckpointError, match=r"does not fit this run: was .*config\.toml edited"):
        seqel.resume(folder, steps=600, trust=True, progress=False)
    (folder / "config.toml").write_text(config[:-5] + "\x00")
    with pytest.raises(ConfigError, match=r"config\.toml: not valid TOML"):
        seqel.resume(folder, trust=True, progress=False)


def test_a_full_disk_is_reported_and_the_previous_checkpoint_is_untouched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    seqel.train(MAZE, steps=300, out=folder, settings=TINY, progress=False)

    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(StorageError, match="No space left"):
            seqel.resume(folder, progress=False)
    seqel.resume(folder, steps=600, progress=False)
    assert lines(folder)[-1]["steps"] == 600


def test_episodes_that_a_resume_lost_are_reported(tmp_path: Path) -> None:
    class Unseeded(gym.Env[Any, Any]):
        observation_space, action_space = gym.spaces.Box(-9, 9, (1,), np.float32), gym.spaces.Discrete(2)
        rng = np.random.default_rng()

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            self.time = 0
            return self.rng.normal(size=1).astype(np.float32), {}

        def step(self, action: int) -> Any:
            self.time += 1
            return np.zeros(1, np.float32), 1.0, self.time >= 30, False, {}

    folder = tmp_path / "run"
    said: list[str] = []
    seqel.train(Unseeded, steps=300, out=folder, settings=TINY, progress=False)
    seqel.resume(folder, env=Unseeded, steps=600, progress=lambda record: said.extend(record.notes))
    assert len(said) == 1 and "environments [0, 1, 2, 3] did not repeat their episodes" in said[0]
    assert [note for line in lines(folder) for note in line.get("notes", [])] == said


def test_a_nan_stops_the_run_and_names_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    seqel.train(MAZE, steps=400, out=folder, settings=TINY, progress=False)
    weights = (folder / "agent" / "weights.safetensors").read_bytes()
    from seqel.training.learner import Learner

    update = Learner.update

    def poisoned(self: Learner, batch: Any, done: float = 0.0) -> Any:
        batch.reward[0, 0] = float("nan")
        return update(self, batch, done)

    monkeypatch.setattr(Learner, "update", poisoned)
    with pytest.raises(NonFiniteError, match=r"a reward in the batch is not finite.*last good checkpoint is .*step-"):
        seqel.resume(folder, steps=800, progress=False)
    assert (folder / "agent" / "weights.safetensors").read_bytes() == weights


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/sys").exists(), reason="needs a place that refuses writes")
def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        seqel.train(MAZE, steps=300, out="/proc/sys/seqel-run", settings=TINY, progress=False)


STAGES = ["arrays.safetensors", "rename", "end"]  # of the fourth checkpoint, at which a run is killed
KILLED = """
import itertools, os, signal, sys
import seqel, seqel.stored_trees, seqel.runs.checkpoints as checkpoint, seqel.runs.loop as driving
seconds = itertools.count()
driving.time = type("Clock", (), {"monotonic": staticmethod(lambda: next(seconds))})  # a checkpoint at every record
saves = itertools.count(1)
def save_tree(directory, tree, *, replace=False, fault=None):
    doomed = next(saves) == 4
    def kill(stage):
        if doomed and stage == last:
            os.kill(os.getpid(), signal.SIGKILL)
    seqel.stored_trees.save_tree(directory, tree, replace=replace, fault=kill)
checkpoint.save_tree = save_tree
out, env, settings, *stages = sys.argv[1:]
for last in stages:
    child = os.fork()  # torch is imported once
    if child == 0:
        seqel.train(env, steps=800, out=f"{out}/{last}", settings=eval(settings), progress=False)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds, for each stage, a run that was killed there."""
    path = tmp_path_factory.mktemp("killed")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path), MAZE, repr(TINY | {"checkpoint_every": 1}), *STAGES],
        env=os.environ | {"PYTHONPATH": str(Path(seqel.__file__).parents[1])}, capture_output=True, text=True, timeout=180,
        check=False,
    )  # fmt: skip
    assert done.stdout.split() == [str(-signal.SIGKILL)] * len(STAGES), done.stderr
    return path


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_killed_during_a_checkpoint_and_resumed_equals_the_uninterrupted_one(
    stage: str, whole: Path, killed: Path
) -> None:
    folder = killed / stage
    assert lines(folder)[-1]["steps"] == 400
    newest = max((folder / "checkpoints").glob("step-*"))
    assert newest.name == f"step-{400 if stage == 'end' else 300:09d}"
    records: list[Record] = []
    seqel.resume(folder, progress=records.append)
    assert records[0].steps == (500 if stage == "end" else 400)
    assert same_run(folder, whole)
    assert not list((folder / "checkpoints").glob(".step-*")), "leftovers of the dead process are removed"
