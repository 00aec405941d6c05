"""The loop and the trainer: what is trained on when, windows that episodes outgrow, and that memory is really learned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import pytest
import torch

from seqel.environments.resolve import resolve
from seqel.environments.seeds import REPORTS, TRAINING, VALIDATION
from seqel.errors import ConfigError
from seqel.evaluation.rollout import Evaluation
from seqel.training.config import preset
from seqel.training.online.loop import records
from seqel.training.online.trainer import OnlineTrainer
from seqel.training.record import next_multiple
from support import Scripted

SMALL: dict[str, Any] = {"environments": 4, "network.width": 16, "network.heads": 2, "network.layers": 1, "threads": 1}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def session(make: Any, **settings: Any) -> OnlineTrainer:
    made = OnlineTrainer(
        preset(**{**SMALL, **{name.replace("__", "."): value for name, value in settings.items()}}), make
    )
    made.collector.begin()
    return made


def test_the_replay_ratio_sets_the_number_of_trained_transitions() -> None:
    run = session(
        Scripted,
        steps=600,
        replay__learning_starts=100,
        replay__replay_ratio=3.0,
        replay__batch_tokens=64,
        log_every=50,
    )
    for record in records(run):
        wanted = 3.0 * max(0, record.steps - 100)
        assert wanted <= run.num_learned < wanted + 2 * 64 or record.steps <= 100
    assert run.collector.steps == 600 and run.learner.updates > 10
    run.close()


def test_there_is_no_update_before_learning_starts_and_statistics_are_then_frozen() -> None:
    run = session(Scripted, steps=400, replay__learning_starts=200)
    encoder = run.agent.network.tokens.vectors()["observation"]
    while run.collector.steps < 200:
        run.collect()
        assert encoder.mean.abs().sum() == 0 or run.ready
    assert run.ready and not run.learner.updates
    seen = run.replay.observations("observation")
    assert encoder.mean.numpy() == pytest.approx(seen.mean(axis=0), rel=1e-4, abs=1e-4)
    frozen = encoder.mean.clone()
    for _ in range(40):
        run.collect()
        while run.update_due:
            run.update()
    assert run.learner.updates and torch.equal(encoder.mean, frozen)
    slow = run.learner.target.tokens.vectors()["observation"]
    assert torch.equal(slow.mean, encoder.mean) and torch.equal(slow.scale, encoder.scale)
    run.close()


def test_the_importance_exponent_grows_to_one_over_the_run() -> None:
    run = session(
        Scripted,
        steps=400,
        replay__learning_starts=40,
        replay__batch_tokens=64,
        replay__priority_exponent=0.6,
        replay__importance_exponent=0.4,
    )
    asked, sample = [], run.replay.sample

    def watched(count: int, *, importance_exponent: float, **given: Any) -> Any:
        asked.append(importance_exponent)
        return sample(count, importance_exponent=importance_exponent, **given)

    run.replay.sample = watched  # type: ignore[method-assign, assignment]
    for steps in (100, 200, 400):
        while run.steps < steps:
            run.collect()
        run.update()
    assert asked == pytest.approx([0.4 + 0.6 * 0.25, 0.4 + 0.6 * 0.5, 1.0])
    run.close()


def test_frozen_statistics_apply_to_the_memory_of_open_episodes_at_once() -> None:
    run = session(Scripted, steps=400, replay__learning_starts=200)
    while not run.ready:
        run.collect()
    assert run.collector.staging.cursor.max() > 0, "an episode is open"
    found = {name: tensor.clone() for name, tensor in run.collector.actors.states[0].memory.items()}
    run.collector.refresh()
    for name, tensor in run.collector.actors.states[0].memory.items():
        torch.testing.assert_close(found[name], tensor)
    run.close()


def test_there_is_a_record_at_every_multiple_and_one_at_the_end() -> None:
    run = session(Scripted, steps=500, log_every=100, **{"validation.every": 200, "validation.episodes": 4})
    found = list(records(run))
    assert [r.steps for r in found] == [100, 200, 300, 400, 500]
    assert [r.steps for r in found if r.validation is not None] == [200, 400, 500]
    assert next_multiple(0, 7) == 7 and next_multiple(7, 7) == 14 and next_multiple(13, 7) == 14
    run.close()


def test_validation_uses_seeds_that_neither_training_nor_evaluation_uses() -> None:
    seeds: list[int] = []

    class Noted(Scripted):
        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            seeds.append(-1 if seed is None else seed)
            return super().reset(seed=seed, options=options)

    run = session(Noted, steps=8, **{"validation.episodes": 5})
    assert all(seed in REPORTS or seed in TRAINING for seed in seeds)
    seeds.clear()
    run.validate()
    assert set(VALIDATION[:5]) <= set(seeds)
    assert all(seed in VALIDATION for seed in seeds)
    run.close()


class Longer(Scripted):
    """Random play has only short episodes; later ones are ten times as long."""

    made = 0

    def __init__(self) -> None:
        super().__init__()
        Longer.made += 1
        self.length = 6 if Longer.made == 1 else 60

    def step(self, action: int) -> Any:
        self.time += 1
        return self._see(), 1.0, self.time >= self.length, False, {}


def test_episodes_may_become_longer_than_those_of_random_play() -> None:
    """Without a declared limit the window is a guess, and a wrong guess must not end the run."""
    Longer.made = 0
    run = session(
        Longer,
        steps=800,
        replay__learning_starts=300,
        replay__batch_tokens=128,
        replay__replay_ratio=2.0,
        log_every=100,
    )
    assert run.config.replay.window == run.config.network.context == 6
    notes = [note for record in records(run) for note in record.notes]
    assert run.learner.updates > 5
    assert len(notes) == 1 and "episodes are now longer than replay.window = 6" in notes[0]
    run.close()


def test_an_unavailable_device_is_refused() -> None:
    with pytest.raises(ConfigError, match="device: expected auto, cpu"):
        session(Scripted, device="abacus")


class Paid(gym.Wrapper[Any, Any, Any, Any]):
    """The same environment with scaled rewards."""

    def __init__(self, env: Any, factor: float) -> None:
        super().__init__(env)
        self.factor = factor

    def step(self, action: Any) -> Any:
        observation, reward, *rest = self.env.step(action)
        return observation, self.factor * float(reward), *rest


def test_rule_7_scaled_rewards_give_the_same_run() -> None:
    """Tokens without the reward. Powers of two scale without rounding, which could decide between equal values."""
    found = {}
    for factor in (1.0, 2.0**-7, 2.0**7):
        run = session(
            lambda factor=factor: Paid(resolve("seqel/TMaze10-v0")(), factor),
            steps=700,
            replay__learning_starts=300,
            replay__batch_tokens=128,
            network__previous_reward=False,
        )
        run.probe.suggested.update(discount=1.0)
        for _ in range(120):
            run.collect()
        metrics = [run.update() for _ in range(15)]
        found[factor] = [float(m["loss"]) for m in metrics], [float(m["q"]) / factor for m in metrics]
        assert run.learner.updates == 15
        run.close()
    for factor in (2.0**-7, 2.0**7):
        assert found[factor] == found[1.0]


def successes(memoryless: bool, **settings: Any) -> list[float]:
    """Return the success rate of 64 greedy episodes after every 3,000 steps of a T-Maze of length 10, until it is solved."""
    found: list[float] = []
    config: dict[str, Any] = {
        "steps": 15_000, "seed": 0, "memoryless": memoryless, "environments": 32, "threads": 1, "log_every": 3_000,
        "replay.replay_ratio": 16.0, "replay.batch_tokens": 384, "validation.every": 3_000, "validation.episodes": 64,
    }  # fmt: skip
    run = OnlineTrainer(preset(**{**config, **settings}), resolve("seqel/TMaze10-v0"))
    run.collector.begin()
    for record in records(run):
        assert record.validation is not None and record.validation.success is not None
        found.append(record.validation.success)
        if found[-1] >= 0.9:
            break
    run.close()
    return found


def test_a_cue_needed_ten_steps_later_is_remembered() -> None:
    assert successes(memoryless=False)[-1] >= 0.9


def test_without_memory_the_same_learner_fails() -> None:
    assert max(successes(memoryless=True, steps=9_000)) <= 0.7


class Echo(gym.Env[Any, Any]):
    """Rewards 1 for naming the sign that was shown two steps ago. Truncated after eighty steps: ten times the context."""

    observation_space, action_space = gym.spaces.Discrete(2), gym.spaces.Discrete(2)
    metadata = {"render_modes": [], "seqel": {"context": 8, "discount": 0.5}}  # noqa: RUF012 (Gymnasium's own shape)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.shown = [int(self.np_random.integers(2))]
        return self.shown[-1], {}

    def step(self, action: int) -> Any:
        right = len(self.shown) > 2 and action == self.shown[-3]
        self.shown.append(int(self.np_random.integers(2)))
        return self.shown[-1], float(right), False, len(self.shown) > 80, {}


@pytest.mark.parametrize("trunk", ["transformer", "gru"])
def test_rule_3_episodes_ten_times_as_long_as_the_context_are_learned(trunk: str) -> None:
    run = OnlineTrainer(
        preset(
            **{"network.trunk": trunk, "network.width": 32, "network.layers": 1, "environments": 16, "threads": 1},
            **{"steps": 5_000, "replay.batch_tokens": 256, "validation.every": 5_000, "validation.episodes": 8},
            **{"replay.replay_ratio": 16.0, "learner.learning_rate": 3e-3, "learner.warmup": 50},
        ),
        Echo,
    )
    assert (run.config.network.context, run.config.replay.window) == (8, 16)
    run.collector.begin()
    (last,) = [record.validation for record in records(run) if record.validation is not None]
    run.close()
    assert isinstance(last, Evaluation)
    assert set(last.lengths) == {80}
    assert last.mean >= 0.95 * 78, "as well at the end of an episode as at its start"
