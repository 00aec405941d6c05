"""Rule 6: a resumed run equals the uninterrupted one, bit for bit; one seed gives one run; validation changes nothing."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import pytest
import torch

from seqel.environments.probe import probe
from seqel.environments.resolve import EnvMaker, resolve
from seqel.stored_trees import load_tree, save_tree
from seqel.training.config import RunConfig, preset
from seqel.training.online.loop import records
from seqel.training.online.trainer import OnlineTrainer
from seqel.training.record import Record
from seqel.trees import flatten
from support import Dials

STEPS = 480


def config_of(env: str, **settings: Any) -> RunConfig:
    """A tiny run: 4 environments, one layer of width 16, a validation in the middle."""
    tiny = {
        "env": env, "steps": STEPS, "environments": 4, "threads": 1, "device": "cpu", "log_every": 100,
        "network.width": 16, "network.layers": 1, "network.heads": 2,
        "replay.learning_starts": 60, "replay.batch_tokens": 64, "replay.replay_ratio": 2.0,
        "validation.every": 200, "validation.episodes": 4, "learner.warmup": 5,
    }  # fmt: skip
    return preset("default", **{**tiny, **settings})


def start(config: RunConfig, make: EnvMaker) -> OnlineTrainer:
    session = OnlineTrainer(config, make)
    session.collector.begin()
    return session


def stop_after(session: OnlineTrainer, rounds: int) -> None:
    """End the loop after some rounds, wherever that is between two records."""
    collect, count = session.collect, itertools.count(1)

    def collect_and_count() -> None:
        collect()
        session.stop_requested = next(count) >= rounds

    session.collect = collect_and_count  # type: ignore[method-assign]


def restored(session: OnlineTrainer, folder: Path, make: EnvMaker) -> tuple[OnlineTrainer, list[int]]:
    """Save the trainer and restore it into a new one that had a different state."""
    save_tree(folder, session.state_dict())
    session.close()
    torch.manual_seed(999)
    other = OnlineTrainer(session.config, make)
    return other, other.load_state_dict(load_tree(folder))


def said(record: Record) -> tuple[Any, ...]:
    """Return a record without its wall-clock time."""
    judged = record.validation, record.accepted, record.best, record.reassessed
    return record.steps, record.updates, record.metrics, judged, record.solved, record.notes


def differences(one: OnlineTrainer, other: OnlineTrainer) -> list[str]:
    """Return the paths at which the saved states differ in any bit."""
    states = [session.state_dict() | {"seconds": 0.0} for session in (one, other)]
    (text, tensors), (other_text, other_tensors) = map(flatten, states)
    found = [] if text == other_text else ["structure"]
    found += sorted(set(tensors) ^ set(other_tensors))
    for name in set(tensors) & set(other_tensors):
        a, b = tensors[name].contiguous(), other_tensors[name].contiguous()
        if a.shape != b.shape or a.dtype != b.dtype or a.numpy().tobytes() != b.numpy().tobytes():
            found.append(name)
    return found


class Pictures(gym.Env[Any, Any]):
    """A square moves over an image; only the first image shows which side is right."""

    observation_space = gym.spaces.Box(0, 255, (24, 24, 1), np.uint8)
    action_space = gym.spaces.Discrete(2)

    def _see(self) -> np.ndarray:
        picture = np.zeros((24, 24, 1), np.uint8)
        picture[(3 * self.time) % 24, :, 0] = 255
        if self.time == 0:
            picture[12 * self.side : 12 * self.side + 12] = 128
        return picture + self.np_random.integers(0, 20, picture.shape, np.uint8)  # noise: its generator must follow

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.time, self.side = 0, int(self.np_random.integers(2))
        return self._see(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        return self._see(), float(action == self.side), self.time >= 7, False, {}


class Long(gym.Env[Any, Any]):
    """Longer than a segment of 512 steps, so that episodes are handed over in parts."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Discrete(2, start=3)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.time, self.place = 0, self.np_random.normal(size=2)
        return self.place.astype(np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        self.place = 0.9 * self.place + self.np_random.normal(size=2) * (action - 2)
        return self.place.astype(np.float32), -float(np.abs(self.place).sum()), False, self.time >= 640, {}


class Private(gym.Env[Any, Any]):
    """Draws its cue from a generator that no seed reaches. The cue is shown only at the first step."""

    observation_space = gym.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, seeded: bool = False) -> None:
        self.rng, self.seeded = np.random.default_rng(), seeded

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        if self.seeded and seed is not None:
            self.rng = np.random.default_rng(seed)
        self.time, self.cue = 0, self.rng.normal() / 9
        return np.array([self.cue], np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.time += 1
        return np.zeros(1, np.float32), 0.0, self.time >= 40, False, {}


CASES: dict[str, tuple[EnvMaker, dict[str, Any]]] = {
    "tmaze": (resolve("seqel/TMaze10-v0"), {}),
    "tmaze, refreshed, dropout, sgd": (
        resolve("seqel/TMaze10-v0"),
        {
            "refresh_every": 3,
            "network.dropout": 0.1,
            "learner.optimizer": "sgd",
            "learner.target": "copy",
            "learner.target_every": 7,
        },
    ),
    "validated often": (resolve("CartPole-v1"), {"network.context": 8, "validation.every": 20, "validation.episodes": 3}),
    "cartpole": (resolve("CartPole-v1"), {"network.context": 8, "exploration.rule": "epsilon"}),
    "gru": (resolve("CartPole-v1"), {"network.trunk": "gru", "network.context": 8, "network.value": "hl-gauss"}),
    "memoryless": (resolve("seqel/TMaze10-v0"), {"memoryless": True}),
    "perturbed": (resolve("seqel/TMaze10-v0"), {"perturb": ("noise:0.5", "repeat:0.5", "delay:2")}),
    "widened": (resolve("seqel/TMaze10-v0"), {"network.context": 8, "replay.window": 6}),  # says so, once
    "masked": (
        resolve("Taxi-v4"),
        {"network.context": 4, "replay.window": 16, "environments": 2, "steps": 600, "validation.every": 500},
    ),
    "pictures": (Pictures, {"learner.image_shift": 2, "replay.capacity": 300}),  # full long before the end: evicts
    "long": (
        Long,
        {
            "network.context": 4, "replay.window": 16, "steps": 1400, "environments": 2, "validation.every": 1000,
            "validation.episodes": 2, "replay.replay_ratio": 3.0, "replay.learning_starts": 1050,
        },
    ),
    "prioritised": (
        resolve("seqel/TMaze10-v0"),
        {"replay.priority_exponent": 0.7, "replay.capacity": 400, "learner.gradient_accumulation_steps": 2},
    ),
    "quantiles": (
        resolve("seqel/TMaze10-v0"),
        {"network.value": "quantile", "network.bins": 7, "objective.lambda_": 0.0, "network.gate": "gru"},
    ),
    "several actions": (
        Dials,
        {
            "network.context": 4, "replay.priority_exponent": 0.5, "exploration.duration_exponent": 2.0,
            "exploration.bonus": 0.1,
        },
    ),
    "several actions, no masks": (
        lambda: Dials("none"),
        {"network.context": 4, "refresh_every": 3, "exploration.rule": "epsilon", "network.dueling": True},
    ),
    "async": (resolve("seqel/TMaze10-v0"), {"vectorization": "async", "environments": 2}),
}  # fmt: skip


class Uninterrupted(NamedTuple):
    case: str
    trainer: OnlineTrainer
    history: list[tuple[Any, ...]]


@pytest.fixture(scope="module", params=CASES)
def whole(request: pytest.FixtureRequest) -> Iterator[Uninterrupted]:
    """The uninterrupted run of each case."""
    make, settings = CASES[request.param]
    trainer = start(config_of(request.param, **settings), make)
    yield Uninterrupted(request.param, trainer, [said(record) for record in records(trainer)])
    trainer.close()


@pytest.mark.parametrize("rounds", [7, 61])  # before learning starts, and in the middle
def test_resumed_equals_uninterrupted(whole: Uninterrupted, rounds: int, tmp_path: Path) -> None:
    make, settings = CASES[whole.case]
    if rounds > 7:  # a segment of 512 steps was cut; an episode of 200 ended
        rounds = {"long": 600, "masked": 260}.get(whole.case, rounds)
    config = config_of(whole.case, **settings)
    first = start(config, make)
    stop_after(first, rounds)
    resumed_history = [said(record) for record in records(first)]
    assert 0 < first.collector.steps < config.steps
    second, lost = restored(first, tmp_path / "state", make)
    assert lost == []
    resumed_history += [said(record) for record in records(second)]
    assert resumed_history == whole.history
    assert differences(second, whole.trainer) == []
    assert whole.trainer.learner.updates > 10
    if whole.case == "validated often":
        played_again = [steps for steps, _, _, (_, _, _, reassessed), _, _ in whole.history if reassessed]
        assert min(played_again) < 244 < max(played_again), "the best weights play again before and after the stop"
    second.close()


def test_differences_sees_one_bit(tmp_path: Path) -> None:
    session = start(config_of("tmaze"), resolve("seqel/TMaze10-v0"))
    stop_after(session, 30)
    list(records(session))
    other, _ = restored(session, tmp_path / "state", resolve("seqel/TMaze10-v0"))
    assert differences(session, other) == []
    with torch.no_grad():
        weight = other.learner.network.get_parameter("head.advantage.weight")
        weight[0, 0] = math.nextafter(float(weight[0, 0]), 1.0) + 1e-7
    assert differences(session, other) == ["learner/network/head.advantage.weight"]


def test_same_seed_same_run_and_another_seed_another() -> None:
    make = resolve("seqel/TMaze10-v0")
    runs = []
    for seed in (3, 3, 4):
        session = start(config_of("tmaze", seed=seed), make)
        list(records(session))
        runs.append(session)
    assert differences(runs[0], runs[1]) == []
    assert differences(runs[0], runs[2]) != []


def test_looking_does_not_disturb() -> None:
    make = resolve("seqel/TMaze10-v0")
    often = start(
        config_of("tmaze", **{"validation.every": 40, "validation.episodes": 7, "network.dropout": 0.1}), make
    )
    validations = [record for record in records(often) if record.validation is not None]
    never = start(config_of("tmaze", **{"validation.every": 10_000, "network.dropout": 0.1}), make)
    while never.progress < 1.0:
        never.collect()
        while never.update_due:
            never.update()
    assert len(validations) == STEPS / 40
    never.selection.load_state_dict(often.selection.state_dict())  # all that validation may leave behind
    assert differences(often, never) == []


def test_an_environment_that_does_not_repeat_loses_its_open_episodes(tmp_path: Path) -> None:
    first = start(config_of("private"), Private)
    stop_after(first, 55)
    list(records(first))
    stored, steps = first.replay.episodes, first.collector.steps
    assert (
        first.collector.staging.cursor > 0
    ).all()  # every row is in mid-episode, where the observation shows nothing
    second, lost = restored(first, tmp_path / "state", Private)
    assert lost == [0, 1, 2, 3]
    assert (second.collector.staging.cursor == 0).all()
    assert second.collector.episodes.tolist() == [n + 1 for n in first.collector.episodes.tolist()]
    assert (second.replay.episodes, second.collector.steps) == (stored, steps)
    assert second.stream.first.all()
    list(records(second))
    stored_episodes: Any = second.replay.state_dict()["episodes"]
    lengths = stored_episodes[:, 1]
    assert set(lengths.tolist()) == {40}  # no episode in the replay is pieced together


def test_only_the_row_that_differs_is_lost(tmp_path: Path) -> None:
    made = itertools.count()

    def make() -> gym.Env[Any, Any]:
        return Private(seeded=next(made) % 4 != 2)

    probed = probe(make)
    for _ in range(3):
        next(made)
    first = OnlineTrainer(config_of("mixed"), make, probed)
    first.collector.begin()
    for _ in range(55):
        first.collect()
    save_tree(tmp_path / "state", first.state_dict())
    made = itertools.count()
    second = OnlineTrainer(first.config, make, probed)
    lost = second.load_state_dict(load_tree(tmp_path / "state"))
    assert lost == [2]
    assert second.collector.staging.cursor.tolist() == [15, 15, 0, 15]
    assert second.stream.first.tolist() == [False, False, True, False]
    for name in ("action", "reward", "first_visit"):
        kept = [0, 1, 3]
        assert np.array_equal(
            getattr(second.collector.staging, name)[kept], getattr(first.collector.staging, name)[kept]
        )
