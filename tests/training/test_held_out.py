"""Scores on held-out episodes: one of two metrics, each with its chance level."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from seqel.replay.in_memory_dataset import InMemoryDataset
from seqel.spaces import ActionSpec, Leaf, ObservationSpec
from seqel.training.config import preset
from seqel.training.held_out import HeldOut, describe_validation
from seqel.training.offline import trainer as offline_session
from seqel.training.offline.trainer import OfflineTrainer
from seqel.types import Episode


def source(actions: int = 3, masked: bool = False, steps: int = 6, episodes: int = 30) -> InMemoryDataset:
    rng = np.random.default_rng(0)
    observation = ObservationSpec(
        (Leaf("x", ("x",), "vector", (2,), "float32", (2,), low=(-9.0,) * 2, high=(9.0,) * 2),)
    )
    found = []
    for _ in range(episodes):
        action = rng.integers(0, actions, (steps, 1))
        mask = None
        if masked:  # the action taken and the next one
            mask = np.zeros((steps + 1, actions), np.bool_)
            mask[np.arange(steps), action[:, 0]] = mask[np.arange(steps), (action[:, 0] + 1) % actions] = True
            mask[steps] = True
        x = rng.normal(size=(steps + 1, 2)).astype(np.float32)
        reward = rng.normal(size=steps).astype(np.float32)
        found.append(Episode({"x": x}, action, reward, terminated=True, action_mask=mask))
    return InMemoryDataset.of(found, observation, ActionSpec((actions,), (0,)))


SMALL: dict[str, Any] = {
    "network.width": 16, "network.heads": 2, "network.layers": 1, "network.context": 4, "offline.updates": 10,
    "offline.every": 5,
}  # fmt: skip


def session(name: str, data: InMemoryDataset, **settings: Any) -> OfflineTrainer:
    return OfflineTrainer(preset(name, **SMALL, **settings), data)


@pytest.mark.parametrize(("masked", "choices"), [(False, 3), (True, 2)])
def test_cloning_is_scored_in_nats_with_uniform_play_over_allowed_actions_as_chance(masked: bool, choices: int) -> None:
    scores = session("behaviour-cloning", source(masked=masked)).validate()
    assert (scores.metric, scores.title) == ("imitation", "held-out imitation")
    assert scores.imitation is not None
    assert scores.mean == -scores.imitation
    assert scores.chance == pytest.approx(math.log(choices))
    assert scores.describe().startswith(f"{scores.imitation:.4g} nats (chance: {math.log(choices):.4g}")


def test_implicit_q_learning_is_scored_by_how_well_it_predicts_the_better_actions() -> None:
    """Half of the recorded actions are bad: a better policy predicts all of them worse, and the good ones better."""
    found = []
    rng = np.random.default_rng(0)
    for _ in range(60):
        action = rng.integers(0, 2, (4, 1))
        x = np.zeros((5, 2), np.float32)
        found.append(Episode({"x": x}, action, (action[:, 0] == 0).astype(np.float32), terminated=True))
    spec = source().observation
    changes: dict[str, Any] = {"objective.discount": 0.0, "learner.learning_rate": 1e-2, "learner.warmup": 1}
    trainer = session("offline-iql", InMemoryDataset.of(found, spec, ActionSpec((2,), (0,))), **changes)
    for _ in range(120):
        trainer.update()
    scores = trainer.validate()
    assert (scores.metric, scores.title) == ("weighted_imitation", "held-out weighted imitation")
    assert scores.imitation is not None and scores.imitation > 1.1 * math.log(2)
    assert -scores.mean < 0.5 * math.log(2) and scores.describe().endswith(")")


def test_values_are_scored_by_the_unexplained_variance() -> None:
    scores = session("offline-cql", source()).validate()
    assert (scores.metric, scores.title, scores.chance) == ("unexplained", "held-out unexplained", 1.0)
    assert scores.mean == -scores.unexplained
    assert scores.describe(-0.4).startswith(f"{scores.unexplained:.1%} (chance: 100%, best 40.0%")


@pytest.mark.parametrize(
    ("metric", "value", "chance", "nothing"),
    [
        ("imitation", math.log(3), math.log(3), True),
        ("imitation", 0.9, math.log(3), False),
        ("unexplained", 1.02, 1.0, True),
        ("unexplained", 0.995, 1.0, True),
        ("unexplained", 0.5, 1.0, False),
        ("unexplained", float("nan"), 1.0, True),
    ],
)
def test_the_text_says_if_nothing_is_learned(metric: Any, value: float, chance: float, nothing: bool) -> None:
    scores = HeldOut(-value, 1.0, 0.0, value, 0.3, 0.0, 0.0, 5, metric=metric, chance=chance)
    assert scores.no_better_than_chance == nothing
    assert ("nothing is learned" in scores.describe()) == nothing


def test_a_validation_of_an_older_run_can_still_be_shown() -> None:
    assert describe_validation({"mean": -0.25}) == "25.0% (chance: 100%)"


def test_many_actions_are_scored_a_few_steps_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """All actions at all held-out steps at once took 41 GB for 23,715 actions."""
    data = source(actions=50)
    run = session("supervised-q", data, **{"learner.sampled_negatives": 5})
    whole = run.validate()
    sizes: list[int] = []
    forward = type(run.learner.target).forward

    def spy(self: Any, batch: Any) -> Any:
        out = forward(self, batch)
        sizes.append(out.q.numel())
        return out

    monkeypatch.setattr(type(run.learner.target), "forward", spy)
    monkeypatch.setattr(offline_session, "HELD_OUT_VALUES", 1_000)
    parts = run.validate()
    assert len(sizes) == 2
    assert max(sizes) <= 1_000
    for name in ("unexplained", "agreement", "first_value", "td_error"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-5)


def test_every_update_and_every_part_of_a_validation_is_shown_in_the_display() -> None:
    from seqel.training.offline import loop as offline

    run = session("offline-cql", source())
    counts: list[int] = []
    run.on_update = lambda one: counts.append(one.updates)
    assert len(list(offline.records(run))) == 2
    assert counts == [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 10]
