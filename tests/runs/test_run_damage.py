"""How a run handles damage to its folder by a kill or by hand, and that its best agent survives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
import pytest

import seqel
from seqel.errors import CheckpointError, EnvironmentFault, StorageError
from seqel.evaluation.rollout import summarise
from seqel.runs.folder import RunFolder
from seqel.training.config import preset
from seqel.training.config_file import load_config
from seqel.training.online.trainer import OnlineTrainer
from seqel.training.record import Best, Record
from support import MAZE, TINY


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    seqel.train(MAZE, steps=300, out=tmp_path / "run", settings=TINY, progress=False)
    return tmp_path / "run"


def test_if_every_checkpoint_is_damaged_the_run_does_not_silently_restart(folder: Path) -> None:
    for path in (folder / "checkpoints").iterdir():
        arrays = path / "arrays.safetensors"
        arrays.write_bytes(arrays.read_bytes()[:-1])
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(CheckpointError, match=r"every checkpoint is damaged.*expected \d+ bytes.*remove .*checkpoints"):
        seqel.resume(folder, steps=600, progress=False)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert cast(Any, seqel.Agent.load(folder).info["validation"])["steps"] == 300, "the best agent can still be used"


def test_an_agent_that_a_kill_left_between_two_renames_is_restored(folder: Path) -> None:
    kept = (folder / "agent" / "weights.safetensors").read_bytes()
    (folder / "agent").rename(folder / ".agent.old-4194305")  # as `atomic_directory` does before the new one's turn
    (folder / ".agent.tmp-4194305").mkdir()
    agent = seqel.resume(folder, progress=False)
    assert cast(Any, agent.info["validation"])["steps"] == 300
    assert (folder / "agent" / "weights.safetensors").read_bytes() == kept
    assert not list(folder.glob(".agent*"))


def test_a_better_agent_of_later_steps_than_the_checkpoint_is_not_overwritten_by_worse(folder: Path) -> None:
    agent = seqel.Agent.load(folder)
    cast(Any, agent.info["validation"]).update(steps=450, mean=99.0)  # by an environment that does not repeat it
    agent.save(folder / "agent")
    assert cast(Any, seqel.resume(folder, steps=600, progress=False).info["validation"])["mean"] == 99.0
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["best"]["steps"], summary["best"]["validation"]["mean"]) == (450, 99.0), "it describes agent/"


def test_an_agent_of_later_steps_than_the_checkpoint_is_replaced_by_a_better_one_or_by_its_repetition(
    folder: Path,
) -> None:
    run, _ = RunFolder.open(folder)
    agent = seqel.Agent.load(folder)
    before = agent.info["validation"]
    for steps, mean, replaced in ((500, 0.7, False), (600, 0.7, True), (500, 0.9, True)):
        run.keep(agent, dict(cast(Any, before)))
        run.later = {"steps": 600, "updates": 60, "mean": 0.8}
        found = summarise([mean, mean], [1, 1], [1.0, 1.0], 0)
        run.save_agent(agent, Record(steps, 1.0, 50, validation=found, accepted=True, best=Best(steps, 50, found)))
        saved = cast(Any, run.best())
        assert (saved == before) != replaced and (run.later is None) == replaced
        if replaced:
            assert (saved["steps"], saved["mean"], saved["episodes"]) == (steps, mean, 2)
    run.close()


def test_a_lost_agent_is_written_again_from_the_checkpoint(folder: Path) -> None:
    weights = folder / "agent" / "weights.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(kept[:100])
    seqel.resume(folder, progress=False)
    assert weights.read_bytes() == kept
    assert cast(Any, seqel.Agent.load(folder).info["validation"])["steps"] == 300


def test_the_memoryless_twin_by_one_argument(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    seqel.train(MAZE, steps=200, out=folder, settings=TINY, memoryless=True, progress=None)
    config = load_config(folder / "config.toml")
    assert config.memoryless and config.network.context == 1 and not config.network.previous_action


def test_values_that_are_not_finite_are_null_in_a_record(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", preset(env="Some-v0"))
    run.append(Record(100, 1.0, 5, metrics={"loss": float("inf"), "q": float("nan"), "return": 1.0}))
    run.close()
    (line,) = run.records()
    assert line["return"] == 1.0 and not {"loss", "q"} & set(line)


class Unseeded(gym.Env[Any, Any]):
    """Does not repeat its episodes, and fails on demand."""

    observation_space, action_space = gym.spaces.Box(-9, 9, (1,), np.float32), gym.spaces.Discrete(2)
    rng = np.random.default_rng()
    fail = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.time = 0
        return self.rng.normal(size=1).astype(np.float32), {}

    def step(self, action: int) -> Any:
        if Unseeded.fail:
            raise ValueError("the simulator went away")
        self.time += 1
        return np.zeros(1, np.float32), 1.0, self.time >= 30, False, {}


def test_lost_episodes_are_reported_even_if_the_resumed_run_is_interrupted_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seqel.training.online.trainer import OnlineTrainer

    folder = tmp_path / "run"
    seqel.train(Unseeded, steps=250, out=folder, settings=TINY, progress=False)
    collect = OnlineTrainer.collect

    def once(self: OnlineTrainer) -> None:
        collect(self)
        self.stop_requested = True

    with monkeypatch.context() as patch:
        patch.setattr(OnlineTrainer, "collect", once)
        with pytest.raises(KeyboardInterrupt, match="stopped and saved at 256 steps"):
            seqel.resume(folder, env=Unseeded, steps=600, progress=False)
    assert json.loads((folder / "summary.json").read_text())["steps"] == 256
    said: list[str] = []
    seqel.resume(folder, env=Unseeded, progress=lambda record: said.extend(record.notes))
    assert sum("did not repeat their episodes" in note for note in said) == 2, said


def test_an_environment_that_fails_during_a_run_leaves_the_saved_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    seqel.train(Unseeded, steps=250, out=folder, settings=TINY, progress=False)

    def broken(record: Record) -> None:
        monkeypatch.setattr(Unseeded, "fail", True)

    with pytest.raises(EnvironmentFault, match="the simulator went away"):
        seqel.resume(folder, env=Unseeded, steps=600, progress=broken)
    monkeypatch.setattr(Unseeded, "fail", False)
    seqel.resume(folder, env=Unseeded, steps=600, progress=False)
    steps = [json.loads(line)["steps"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps)) and steps[-1] >= 600


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    seqel.train(MAZE, steps=250, out=folder, settings=TINY, progress=False)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    program = "import sys; from pathlib import Path; from seqel.storage import Claim; held = Claim(Path(sys.argv[1])); "
    other = subprocess.Popen(
        [sys.executable, "-c", program + "print('held', flush=True); input()", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdin is not None and other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(StorageError, match="is in use"):
        seqel.resume(folder, steps=600, progress=False)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    other.kill()  # a dead process releases its lock
    other.wait()
    other.stdin.close()
    other.stdout.close()
    seqel.resume(folder, steps=600, progress=False)
