"""From acting to training: the learner computes the same values for a stored step as the agent did when it acted.

Also episodes that end at the end of a segment, stored masks, and steps that look alike.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from seqel.agents.agent import Agent
from seqel.agents.config import ExplorationConfig
from seqel.agents.exploration import Explorer
from seqel.agents.sketch import ObservationSketch
from seqel.agents.visits import VisitCounts
from seqel.environments.vector import VectorStream
from seqel.replay.buffer import Replay
from seqel.training.online.actors import Actors
from seqel.training.online.collector import Collector
from seqel.training.return_scale import ReturnScale
from seqel.types import Episode, SequenceBatch
from support import Scripted, network

MODES = [AutoresetMode.DISABLED, AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP]
COUNT = 3


class Kept(Replay):
    """A replay that also keeps the added episodes."""

    came: list[Episode]

    def add(self, episode: Episode) -> int:
        self.came = getattr(self, "came", [])
        copied = {field.name: getattr(episode, field.name) for field in dataclasses.fields(episode)}
        for name, value in copied.items():
            if isinstance(value, np.ndarray):
                copied[name] = value.copy()
        copied["observation"] = {path: leaf.copy() for path, leaf in episode.observation.items()}
        self.came.append(Episode(**copied))
        return super().add(episode)


class Remembering(Explorer):
    """Also keeps the values of the chosen actions."""

    def select(self, q: Any, *args: Any, **settings: Any) -> Any:
        action = super().select(q, *args, **settings)
        self.q_acted = q[np.arange(len(q)), action]
        return action


class Numbered(VisitCounts):
    """Stores a number with every step, and keeps under that number the value that the step's action was chosen by."""

    def __init__(self, explorer: Remembering) -> None:
        super().__init__(COUNT)
        self.explorer = explorer
        self.values: list[float] = []

    def reach(self, codes: Any, rows: Any) -> Any:
        start = len(self.values)
        self.values.extend(self.explorer.q_acted[rows].tolist())
        return np.arange(start, len(self.values), dtype=np.int32)


class Masked(Scripted):
    """Step t of episode e allows the actions t and e + t (modulo 3), and none at the end."""

    def allowed(self) -> np.ndarray:
        mask = np.zeros(3, np.int8)
        mask[[self.time % 3, (self.episode + self.time) % 3]] = 1
        return mask

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        observation, _ = super().reset(seed=seed, options=options)
        return observation, {"action_mask": self.allowed()}

    def step(self, action: int) -> Any:
        observation, reward, terminated, truncated, _ = super().step(action)
        none = np.zeros(3, np.int8)
        return observation, reward, terminated, truncated, {"action_mask": none if terminated else self.allowed()}


def fixed(length: int) -> Any:
    """Scripted environments in which every episode has `length` steps; every third is truncated."""

    class Fixed(Scripted):
        def step(self, action: int) -> Any:
            reward = 10.0 * self.time + float(action)
            self.time += 1
            over, cut = self.time >= length, self.episode % 3 == 2
            return self._see(), reward, over and not cut, over and cut, {}

    return Fixed


def collect(
    make: Any,
    rounds: int,
    mode: AutoresetMode = AutoresetMode.DISABLED,
    *,
    segment: int = 64,
    masked: bool = False,
    **settings: Any,
) -> tuple[Kept, Collector]:
    """Collect random play, so that previous actions vary, with the whole collector."""
    net = network(std=0.1, **settings)
    for encoder in net.tokens.vectors().values():
        encoder.observe(torch.tensor([1.0, 4.0, 3.0]), torch.tensor([1.0, 3.0, 2.0]))
    stream = VectorStream(
        SyncVectorEnv([functools.partial(make, n) for n in range(COUNT)], autoreset_mode=mode),
        net.observation_spec,
        net.action_spec,
    )
    replay = Kept(net.observation_spec.storage, 20_000, actions=3, masked=masked)
    config = ExplorationConfig(rule="epsilon", low=1.0, high=1.0, bonus=0.0)
    explorer = Remembering(config, COUNT, 3, 0)
    context = net.config.context
    collector = Collector(
        stream, Actors(Agent(net), COUNT), explorer, replay, ReturnScale(0.9), seed=0, segment=segment, context=context,
        sketch=ObservationSketch(net.observation_spec, lambda path, x: x),
    )  # fmt: skip
    collector.visits = Numbered(explorer)
    collector.begin()
    for _ in range(rounds):
        collector.step()
    return replay, collector


def acted_on(windows: SequenceBatch, collector: Collector) -> torch.Tensor:
    """Return the values by which the agent chose the actions of the windows: (B, T)."""
    assert isinstance(collector.visits, Numbered) and windows.first_visit is not None
    return torch.tensor(collector.visits.values)[windows.first_visit.long()]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("trunk", "pack"), [("transformer", False), ("transformer", True), ("gru", False)])
def test_training_computes_the_values_that_acting_computed(mode: AutoresetMode, trunk: str, pack: bool) -> None:
    """The values that the agent acted on, computed step by step with its ring, equal one pass over the stored window."""
    replay, collector = collect(Scripted, 60, mode, trunk=trunk, context=4)
    windows = replay.sample(64, window=8, context=4, discount=0.9, rng=np.random.default_rng(0), pack=pack)
    with torch.no_grad():
        q = collector.actors.agent.network(windows).q[:, :-1].gather(-1, windows.action[..., None])[..., 0, 0]
    acted = acted_on(windows, collector)
    torch.testing.assert_close(acted[windows.valid], q[windows.valid], rtol=1e-4, atol=1e-4)
    assert float(q[windows.valid].std()) > 0.05, "the values differ enough to compare"


def test_training_computes_the_values_of_acting_in_the_middle_of_a_long_episode() -> None:
    """After the burn-in of one layer, a window inside a segment gives the same values as the episode from its start."""
    replay, collector = collect(fixed(150), 149, segment=40, layers=1, context=5)
    windows = replay.sample(200, window=12, context=5, discount=0.9, rng=np.random.default_rng(0))
    with torch.no_grad():
        q = collector.actors.agent.network(windows).q[:, :-1].gather(-1, windows.action[..., None])[..., 0, 0]
    acted = acted_on(windows, collector)
    assert (windows.start_step > 0).float().mean() > 0.8
    assert len(replay.came) > COUNT, "segments"
    torch.testing.assert_close(acted[windows.loss_mask], q[windows.loss_mask], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("length", [19, 20, 21, 35, 36, 37])
def test_rule_3_every_step_is_trained_on_wherever_the_episode_ends(mode: AutoresetMode, length: int) -> None:
    """Segments of 20 that overlap by 4: an episode that ends with its segment has no further segment."""
    replay, _ = collect(fixed(length), 4 * (length + 1), mode, segment=20, context=4)
    taught: dict[tuple[int, int], list[int]] = {}
    for part in replay.came:
        row, episode, step = part.observation["observation"][0].astype(int).tolist()
        assert step == part.start_step
        ends = part.start_step + len(part) == length
        assert (part.terminated or part.truncated) == ends and part.truncated == (ends and episode % 3 == 2)
        burnt = 4 if part.start_step else 0
        taught.setdefault((row, episode), []).extend(range(part.start_step + burnt, part.start_step + len(part)))
        if part.start_step:
            assert part.previous_action is not None
            assert part.previous_reward == 10.0 * (part.start_step - 1) + part.previous_action[0]
    whole = {key: steps for key, steps in taught.items() if key[1] < 3}
    assert len(whole) == 3 * COUNT
    for steps in whole.values():
        assert steps == list(range(length)), "each step once, in order"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("segment", [64, 6])
def test_masks_are_stored_for_the_right_steps(mode: AutoresetMode, segment: int) -> None:
    replay, _ = collect(Masked, 80, mode, segment=segment, masked=True, context=2)
    checked = 0
    for part in replay.came:
        assert part.action_mask is not None
        for t, (_, episode, time) in enumerate(part.observation["observation"].astype(int).tolist()):
            wanted = np.zeros(3, bool)
            wanted[[time % 3, (episode + time) % 3]] = True
            if t == len(part) and part.terminated:
                wanted[:] = True
            assert part.action_mask[t].tolist() == wanted.tolist()
            checked += 1
        assert part.action_mask[np.arange(len(part)), part.action[:, 0]].all(), "the actions taken were allowed"
    assert checked > 150


@pytest.mark.parametrize("mode", MODES)
def test_resets_are_not_counted_as_steps(mode: AutoresetMode) -> None:
    replay, collector = collect(Scripted, 60, mode)
    stored = sum(len(part) for part in replay.came) + int(
        collector.staging.cursor[
            ~collector.stream._pending
        ].sum()  # ended rows of NEXT_STEP are still at their last step
    )
    assert collector.steps == stored
    assert collector.steps == COUNT * 60 if mode != AutoresetMode.NEXT_STEP else collector.steps < COUNT * 60


def test_the_return_scale_sees_every_episode() -> None:
    replay, collector = collect(Scripted, 60)
    again = ReturnScale(0.9)
    for part in replay.came:
        again.observe(part.reward)
    assert collector.scale.value == again.value > 1.0
