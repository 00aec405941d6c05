"""Trackers receive every record, never NaN, and never end a run."""

from __future__ import annotations

import math
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import pytest

import seqel
from seqel.errors import ConfigError, MissingExtraError
from seqel.evaluation.rollout import Evaluation
from seqel.runs.trackers.base import scalars
from seqel.runs.trackers.registry import MOST_FAILURES, TRACKERS, Trackers, TrackerWarning, open_trackers
from seqel.runs.trackers.tensorboard import TensorBoardTracker
from seqel.runs.trackers.wandb import WandbTracker
from seqel.training.config import RunConfig
from seqel.training.record import Record

TINY = {
    "network.width": 16, "network.heads": 2, "network.layers": 1, "threads": 1, "validation.every": 200,
    "validation.episodes": 2, "replay.learning_starts": 100, "replay.replay_ratio": 1, "log_every": 100,
    "environments": 2,
}  # fmt: skip


def record(steps: int = 10, updates: int = 3, **metrics: float) -> Record:
    return Record(steps, 1.0, updates, 5.0, metrics)


class Recording:
    """A tracker that keeps what it receives."""

    def __init__(self) -> None:
        self.started: list[tuple[RunConfig, Path]] = []
        self.records: list[Record] = []
        self.finished: list[dict[str, Any] | None] = []

    def start(self, config: RunConfig, folder: Path) -> None:
        self.started.append((config, folder))

    def log(self, record: Record) -> None:
        self.records.append(record)

    def finish(self, summary: dict[str, Any] | None) -> None:
        self.finished.append(summary)


class Broken(Recording):
    """A tracker whose network is gone."""

    def log(self, record: Record) -> None:
        super().log(record)
        raise OSError("no route to host")


def test_numbers_that_are_missing_or_not_finite_are_left_out() -> None:
    validation = Evaluation(1.0, 1.0, (1.0, 1.0), None, None, [1.0], [1], seed=0)
    found = scalars(Record(1, 1.0, 0, math.inf, {"loss": math.nan, "q": 2.0}, validation))
    assert found["train/q"] == 2.0 and found["validation/return"] == 1.0
    assert not {"train/loss", "train/steps_per_second", "validation/success"} & set(found)
    assert all(math.isfinite(value) for value in found.values())


def _log_six(trackers: Trackers) -> None:
    for steps in range(6):
        trackers.log(record(steps))


def test_a_failing_tracker_warns_once_and_the_others_receive_everything() -> None:
    broken, working = Broken(), Recording()
    trackers = Trackers([broken, working])
    with pytest.warns(TrackerWarning, match="Broken failed .*no route to host.*the run continues") as caught:
        _log_six(trackers)
    trackers.finish({})
    assert len(caught) == 1 and len(working.records) == 6
    assert len(broken.records) == MOST_FAILURES, "one that fails again and again is left alone"
    assert broken.finished == working.finished == [{}]


def test_tensorboard_is_written_by_the_count_and_without_nan(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = TensorBoardTracker()
    tracker.start(RunConfig(), tmp_path)
    tracker.log(record(0, 50, q=1.5, loss=math.nan))
    tracker.finish(None)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/q")] == [(50, 1.5)]
    assert "train/loss" not in events.Tags()["scalars"]


class FakeRun:
    def __init__(self, **options: Any) -> None:
        self.options, self.logged, self.summary = options, [], {}  # type: ignore[var-annotated]
        self.exit_code: int | None = None

    def define_metric(self, name: str, step_metric: str | None = None) -> None: ...

    def log(self, values: dict[str, float]) -> None:
        self.logged.append(values)

    def finish(self, exit_code: int) -> None:
        self.exit_code = exit_code


def test_wandb_gets_every_setting_and_a_resumed_run_is_the_same_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[FakeRun] = []
    fake = types.ModuleType("wandb")
    fake.init = lambda **options: runs.append(FakeRun(**options)) or runs[-1]  # type: ignore[attr-defined, func-returns-value]
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for _ in range(2):
        tracker = WandbTracker()
        tracker.start(RunConfig(), tmp_path)
        tracker.log(record(20, q=1.0, loss=math.nan))
        tracker.finish({"best": {"steps": 0, "updates": 7, "validation": {"mean": 2.0}}})
    first, second = runs
    assert first.options["id"] == second.options["id"] and first.options["resume"] == "allow"
    assert first.options["config"]["learner"]["learning_rate"] == RunConfig().learner.learning_rate
    assert first.logged[0]["count"] == 20 and first.logged[0]["train/q"] == 1.0 and "train/loss" not in first.logged[0]
    assert first.summary == {"best/count": 7, "best/mean": 2.0} and first.exit_code == 0


def test_a_missing_library_is_said_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError, match=r'pip install "seqel\[wandb\]"'):
        open_trackers(["wandb"])


@pytest.mark.parametrize("wrong", ["mlflow", 3])
def test_what_is_no_tracker_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"trackers: expected .*tensorboard, wandb"):
        open_trackers([wrong])


def test_a_setting_names_every_tracker() -> None:
    config = seqel.preset(trackers=tuple(TRACKERS))
    assert config.trackers == tuple(TRACKERS)


def test_a_run_tells_its_trackers_and_ends_although_one_fails(tmp_path: Path) -> None:
    working, broken = Recording(), Broken()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        seqel.train(
            "CartPole-v1", out=tmp_path / "run", steps=200, settings=TINY, progress=False,
            trackers=[broken, working, "tensorboard"],
        )  # fmt: skip
    assert sum(one.category is TrackerWarning for one in caught) == 1
    assert working.started[0][1] == tmp_path / "run" and working.started[0][0].network.context > 0
    assert [one.count for one in working.records] == [100, 200]
    assert working.finished[0] is not None and working.finished[0]["steps"] == 200
    assert list((tmp_path / "run").glob("events.out.tfevents.*"))
    assert 'trackers = [\n    "tensorboard",\n]' in (tmp_path / "run" / "config.toml").read_text()


def test_no_events_are_written_unless_asked_for(tmp_path: Path) -> None:
    seqel.train("CartPole-v1", out=tmp_path / "run", steps=120, settings=TINY, progress=False)
    assert not list((tmp_path / "run").glob("events.out.tfevents.*"))
