"""Rules 3 to 6 in the collector: the same episodes, whatever the vector environment's autoreset mode."""

from __future__ import annotations

import functools
import itertools
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from seqel.agents.agent import Agent
from seqel.agents.config import ExplorationConfig
from seqel.agents.exploration import Explorer
from seqel.environments.seeds import TRAINING
from seqel.environments.vector import VectorStream
from seqel.errors import EnvironmentFault
from seqel.replay.buffer import Replay
from seqel.training.online.actors import Actors
from seqel.training.online.collector import Collector, EpisodeEnd, episode_seed
from seqel.training.return_scale import ReturnScale
from seqel.types import Episode
from support import SPACE, Scripted, network

COUNT = 3


class Kept(Replay):
    """A replay that also keeps the added episodes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.came: list[Episode] = []

    def add(self, episode: Episode) -> int:
        copied = {path: leaf.copy() for path, leaf in episode.observation.items()}
        self.came.append(
            Episode(
                copied,
                episode.action.copy(),
                episode.reward.copy(),
                episode.terminated,
                episode.truncated,
                episode.start_step,
                episode.previous_action,
                episode.previous_reward,
            )
        )
        return super().add(episode)


def collect(
    make: Any,
    rounds: int,
    mode: AutoresetMode = AutoresetMode.DISABLED,
    segment: int = 64,
    context: int = 5,
    **settings: Any,
) -> tuple[Kept, list[EpisodeEnd], Collector]:
    net = network(context=context, **settings)
    envs = SyncVectorEnv([functools.partial(make, n) for n in range(COUNT)], autoreset_mode=mode)
    stream = VectorStream(envs, net.observation_spec, net.action_spec)
    replay = Kept(net.observation_spec.storage, 5_000, actions=3)
    greedy = Explorer(ExplorationConfig(rule="greedy", bonus=0.0), COUNT, 3, 0)
    collector = Collector(
        stream, Actors(Agent(net), COUNT), greedy, replay, ReturnScale(0.9), seed=7, segment=segment, context=context
    )
    collector.begin()
    ended = [end for _ in range(rounds) for end in collector.step()]
    return replay, ended, collector


def content(replay: Kept) -> list[tuple[Any, ...]]:
    """Return every episode in an order that does not depend on when it ended."""
    rows = [
        (*e.observation["observation"][0, :2].tolist(), e.observation["observation"].tolist(), e.action.tolist(),
         e.reward.tolist(), e.terminated, e.truncated)
        for e in replay.came
    ]  # fmt: skip
    return sorted(rows)


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_rule_5_every_autoreset_mode_gives_the_same_replay_content(mode: AutoresetMode) -> None:
    wanted = content(collect(Scripted, 60)[0])
    found = content(collect(Scripted, 90, mode)[0])
    least = {row[0]: max(r[1] for r in wanted if r[0] == row[0]) for row in wanted}
    found = [row for row in found if row[1] <= least[row[0]]]
    assert found == wanted
    assert len(wanted) >= 3 * 9


def test_rule_5_no_reset_transition_and_the_true_final_observation() -> None:
    for episode in collect(Scripted, 60)[0].came:
        seen = episode.observation["observation"]
        assert (seen[:, 1] == seen[0, 1]).all(), "one episode"
        assert seen[:, 2].tolist() == list(range(len(episode) + 1)), "every step once, up to the last"


def test_rule_4_termination_and_truncation_are_distinguished() -> None:
    for episode in collect(Scripted, 60)[0].came:
        number = int(episode.observation["observation"][0, 1])
        assert (episode.terminated, episode.truncated) == (number % 3 != 2, number % 3 == 2)
        assert len(episode) == 3 + number % 4


def test_the_numbers_of_finished_episodes_are_right() -> None:
    replay, ended, collector = collect(Scripted, 60)
    assert [end.length for end in ended] == [len(episode) for episode in replay.came]
    assert [end.total for end in ended] == pytest.approx([float(episode.reward.sum()) for episode in replay.came])
    assert collector.steps == 60 * COUNT


class Endless(gym.Env[Any, Any]):
    """The observation is the step number; 300 steps, then truncated."""

    observation_space, action_space = SPACE, gym.spaces.Discrete(3)

    def __init__(self, number: int = 0) -> None:
        self.number, self.time = number, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.time = 0
        return np.array([self.number, 0, 0], np.float32), {}

    def step(self, action: int) -> Any:
        self.time += 1
        return np.array([self.number, 0, self.time], np.float32), float(self.time), False, self.time == 300, {}


def test_rule_3_every_step_of_an_episode_far_longer_than_a_segment_is_trained_on() -> None:
    replay, _, _ = collect(Endless, 300, segment=40, context=5)
    rows: dict[int, list[Episode]] = {}
    for episode in replay.came:
        rows.setdefault(int(episode.observation["observation"][0, 0]), []).append(episode)
    for parts in rows.values():
        assert parts[-1].truncated and not any(part.truncated or part.terminated for part in parts[:-1])
        for part in parts:
            assert part.observation["observation"][0, 2] == part.start_step
            assert part.reward.tolist() == list(range(part.start_step + 1, part.start_step + len(part) + 1))
            if part.start_step:
                assert part.previous_reward == part.start_step, "the reward before the segment"
        for before, after in itertools.pairwise(parts):
            assert after.start_step == before.start_step + len(before) - 5, "they overlap by the context"
    trained = np.zeros((COUNT, 300), int)
    rng = np.random.default_rng(0)
    for _ in range(300):
        windows = replay.sample(128, window=10, context=5, discount=0.9, rng=rng)
        seen = windows.observation["observation"][:, :-1].long()
        np.add.at(trained, (seen[..., 0][windows.loss_mask], seen[..., 2][windows.loss_mask]), 1)
    assert trained.min() > 0.4 * trained.mean() and trained.max() < 3.5 * trained.mean()


def test_rule_6_every_episode_has_its_own_seed_beyond_those_of_evaluation() -> None:
    class Seeded(Scripted):
        seeds: ClassVar[list[int | None]] = []

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            if self.number == 1:
                Seeded.seeds.append(seed)
            return super().reset(seed=seed, options=options)

    collect(Seeded, 30)
    assert Seeded.seeds == [episode_seed(7, 1, k) for k in range(len(Seeded.seeds))]
    assert len(set(Seeded.seeds)) == len(Seeded.seeds) >= 5
    assert all(seed in TRAINING for seed in Seeded.seeds)


@pytest.mark.parametrize("reward", [np.nan, np.inf])
def test_a_reward_that_is_not_finite_is_named(reward: float) -> None:
    class Bad(Scripted):
        def step(self, action: int) -> Any:
            observation, good, *rest = super().step(action)
            return observation, (reward if self.number == 2 and self.time == 2 else good), *rest

    with pytest.raises(EnvironmentFault, match="environment 2 returned the reward"):
        collect(Bad, 10)


def test_a_failing_environment_is_reported_as_such() -> None:
    class Broken(Scripted):
        def step(self, action: int) -> Any:
            raise RuntimeError("the motor burnt")

    with pytest.raises(EnvironmentFault, match="the motor burnt"):
        collect(Broken, 2)


def test_masks_are_obeyed_and_stored_for_every_step() -> None:
    from seqel.environments.resolve import resolve
    from seqel.training.config import preset
    from seqel.training.online.trainer import OnlineTrainer

    settings: dict[str, Any] = {
        "environments": 4,
        "network.width": 16,
        "network.heads": 2,
        "network.context": 8,
        "threads": 1,
    }
    session = OnlineTrainer(preset(**settings), resolve("Taxi-v4"))
    session.collector.begin()
    for _ in range(260):
        session.collect()
    windows = session.replay.sample(16, window=16, context=8, discount=0.9, rng=np.random.default_rng(0))
    assert windows.action_mask is not None
    taken = windows.action_mask[:, :-1].gather(-1, windows.action)[..., 0]
    assert taken[windows.valid].all(), "every action was allowed where it was taken"
    assert not windows.action_mask.all()
    session.close()


def test_rule_2_refresh_gives_the_memory_of_the_current_weights() -> None:
    """After a change of the weights in mid-episode, the refreshed memory equals that of stepping with the new weights."""
    _, _, collector = collect(Endless, 12, context=20)
    agent = collector.actors.agent
    with torch.no_grad():
        for parameter in agent.network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    stale = {name: tensor.clone() for name, tensor in collector.actors.states[0].memory.items()}
    collector.refresh()
    again = agent.network.initial_state(COUNT)
    with torch.no_grad():
        for t in range(12):
            seen = {"observation": torch.from_numpy(collector.staging.observation["observation"][:, t])}
            action = torch.from_numpy(collector.staging.action[:, max(t - 1, 0)])
            reward = torch.from_numpy(collector.staging.reward[:, max(t - 1, 0)])
            _, again = agent.network.step(seen, action, reward, torch.full((COUNT,), t == 0), again)
    memory = collector.actors.states[0].memory
    assert torch.equal(memory["position"], again["position"])
    assert torch.allclose(memory["keys"], again["keys"], atol=1e-5)
    assert not torch.allclose(memory["keys"], stale["keys"], atol=1e-3)


def test_refresh_right_after_a_cut_segment_gives_the_memory_of_the_whole_episode() -> None:
    """One layer of 5 steps reads nothing older than what a segment keeps; the action and reward before it are kept too."""
    _, _, collector = collect(Endless, 40, segment=40, context=5, layers=1)
    assert collector.staging.start.tolist() == [35] * COUNT and collector.staging.cursor.tolist() == [5] * COUNT
    network_ = collector.actors.agent.network
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in network_.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    collector.refresh()
    action = torch.tensor(collector.history)  # (COUNT, 40)
    whole = network_.initial_state(COUNT)
    with torch.no_grad():
        for t in range(40):
            seen = {"observation": torch.tensor([[float(n), 0.0, float(t)] for n in range(COUNT)])}
            before = action[:, max(t - 1, 0), None], torch.full((COUNT,), float(t))  # the reward of step t - 1 is t
            _, whole = network_.step(seen, *before, torch.full((COUNT,), t == 0), whole)
    memory = collector.actors.states[0].memory
    assert torch.equal(memory["position"], whole["position"])
    for name in ("keys", "values"):
        torch.testing.assert_close(memory[name], whole[name], rtol=1e-4, atol=1e-5)
