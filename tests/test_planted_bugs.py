"""Twelve bugs that agents have had, each introduced by a patch, and each caught by a check of behaviour.

Every check passes on the code as it is, and fails when its bug is introduced. The checks test behaviour, not the code.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from seqel.agents.agent import Agent
from seqel.agents.config import ExplorationConfig
from seqel.agents.exploration import Explorer
from seqel.environments.vector import StepResult, VectorStream, make_vector
from seqel.losses.config import ObjectiveConfig
from seqel.losses.targets import q_targets
from seqel.networks.encoders.vector import VectorEncoder
from seqel.networks.tokens import TokenEncoder
from seqel.networks.trunks.transformer import Transformer
from seqel.replay.buffer import Replay
from seqel.training.config import LearnerConfig
from seqel.training.learner import Learner
from seqel.training.online.actors import Actors
from seqel.training.online.collector import Collector
from seqel.training.online.staging import Staging
from seqel.training.return_scale import ReturnScale
from seqel.types import Episode, QOutput, SequenceBatch
from support import Scripted, batch, network, same_q, step_through

GAMMA = 0.9


def collected(rounds: int = 40) -> Replay:
    """Collect experience of three scripted environments with the real collector."""
    numbers = iter(range(3))
    net = network()
    stream = VectorStream(make_vector(lambda: Scripted(next(numbers)), 3), net.observation_spec, net.action_spec)
    replay = Replay(net.observation_spec.storage, 1_000, actions=3)
    explorer = Explorer(ExplorationConfig(bonus=0.0), 3, 3, 0)
    collector = Collector(
        stream,
        Actors(Agent(net), 3),
        explorer,
        replay,
        ReturnScale(GAMMA),
        seed=0,
        segment=64,
        context=net.config.context,
    )
    collector.begin()
    for _ in range(rounds):
        collector.step()
    return replay


def sampled(replay: Replay, windows: int = 64) -> SequenceBatch:
    return replay.sample(windows, window=20, context=5, discount=GAMMA, rng=np.random.default_rng(0))


def constant(windows: SequenceBatch, value: float) -> QOutput:
    return QOutput(torch.full((*windows.is_first.shape, 1, 3), value))


# -- checks ------------------------------------------------------------------------------------------------------------


def rewards_belong_to_their_steps() -> None:
    windows = sampled(collected())
    time = windows.observation["observation"][:, :-1, 2]
    right = 10.0 * time + windows.action[..., 0]
    assert torch.equal(windows.reward[windows.valid], right[windows.valid])


def a_terminal_step_is_worth_its_reward_and_no_more() -> None:
    windows = sampled(collected())
    episode = windows.observation["observation"][:, 0, 1]
    ends = windows.valid & ~torch.nn.functional.pad(windows.valid[:, 1:], (0, 1))
    terminal = ends & (episode % 3 != 2)[:, None]
    goal = q_targets(windows, constant(windows, 7.0), constant(windows, 7.0), ObjectiveConfig(GAMMA, lambda_=0.0))[
        ..., 0
    ]
    assert terminal.any()
    torch.testing.assert_close(goal[terminal], windows.reward[terminal])


def a_truncated_step_is_worth_what_comes_after_it_too() -> None:
    windows = sampled(collected())
    episode = windows.observation["observation"][:, 0, 1]
    ends = windows.valid & ~torch.nn.functional.pad(windows.valid[:, 1:], (0, 1))
    cut = ends & (episode % 3 == 2)[:, None]
    goal = q_targets(windows, constant(windows, 7.0), constant(windows, 7.0), ObjectiveConfig(GAMMA, lambda_=0.0))[
        ..., 0
    ]
    assert cut.any()
    torch.testing.assert_close(goal[cut], windows.reward[cut] + GAMMA * 7.0)


def the_future_does_not_show() -> None:
    net, windows = network(), batch()
    seen = windows.observation["observation"].clone()
    seen[:, 8:] += 1.0
    with torch.no_grad():
        other = net(dataclasses.replace(windows, observation={"observation": seen})).q
        assert torch.allclose(other[:, :8], net(windows).q[:, :8])


def stepping_equals_one_pass() -> None:
    net, windows = network(), batch(steps=30)
    with torch.no_grad():
        same_q(step_through(net, windows), net(windows).q)


def padding_changes_no_update() -> None:
    replay = collected()
    losses = []
    for pad in (None, 20):
        learner = Learner(network(), ObjectiveConfig(GAMMA), LearnerConfig(learning_rate=1e-3, target_rate=0.01))
        windows = replay.sample(16, window=20, context=5, discount=GAMMA, rng=np.random.default_rng(0), pad_to=pad)
        losses.append(float(learner.update(windows)["td_error"]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def the_target_follows_the_online_network() -> None:
    learner = Learner(network(), ObjectiveConfig(GAMMA), LearnerConfig(learning_rate=1e-3, target_rate=0.25, warmup=1))
    before = [p.clone() for p in learner.target.parameters()]
    learner.update(batch())
    for old, online, slow in zip(before, learner.network.parameters(), learner.target.parameters(), strict=True):
        torch.testing.assert_close(slow, old + 0.25 * (online - old))
    assert any(not torch.equal(old, slow) for old, slow in zip(before, learner.target.parameters(), strict=True))


def nothing_is_known_before_an_episode() -> None:
    """After a reset the agent decides as a fresh one, whatever the action and reward just before."""
    net = network()
    agent = Agent(net)
    seen = np.ones((2, 3), np.float32)
    _, state = agent.act(seen)
    for _ in range(7):
        _, state = agent.act(seen, state, reward=np.full(2, 5.0), previous_action=np.array([1, 2]))
    fresh, _ = agent.act(seen)
    begun, _ = agent.act(
        seen, state, reward=np.full(2, 5.0), previous_action=np.array([1, 2]), first=np.array([True, True])
    )
    np.testing.assert_allclose(begun.q, fresh.q, atol=1e-5)


def each_row_forgets_when_its_own_episode_ends() -> None:
    net, windows = network(), batch(rows=3, steps=20)
    first = windows.is_first.clone()
    first[1, 6] = first[2, 11] = True
    windows = dataclasses.replace(windows, is_first=first)
    with torch.no_grad():
        same_q(step_through(net, windows), net(windows).q)


def three_step_returns_by_hand() -> None:
    windows = batch(rows=1, steps=4)
    windows = dataclasses.replace(
        windows, reward=torch.tensor([[1.0, 2.0, 3.0, 4.0]]), discount=torch.full((1, 4), 0.5)
    )
    goal = q_targets(
        windows, constant(windows, 8.0), constant(windows, 8.0), ObjectiveConfig(0.5, lambda_=0.0, n_step=3)
    )
    # 1 + 0.5*2 + 0.25*3 + 0.125*8;  2 + 0.5*3 + 0.25*4 + 0.125*8;  3 + 0.5*4 + 0.25*8;  4 + 0.5*8
    torch.testing.assert_close(goal[0, :, 0], torch.tensor([3.75, 5.5, 7.0, 8.0]))


def the_online_network_picks_and_the_target_values() -> None:
    windows = batch(rows=1, steps=1)
    windows = dataclasses.replace(windows, reward=torch.tensor([[1.0]]), discount=torch.tensor([[0.5]]))
    online = QOutput(torch.tensor([0.0, 3.0, 1.0]).expand(1, 2, 1, 3))  # picks action 1
    slow = QOutput(torch.tensor([10.0, 4.0, 6.0]).expand(1, 2, 1, 3))  # whose value here is 4
    goal = q_targets(windows, online, slow, ObjectiveConfig(0.5, lambda_=0.0))
    torch.testing.assert_close(goal, torch.tensor([[[3.0]]]))


def acting_sees_the_numbers_that_learning_sees() -> None:
    net = network()
    for encoder in net.tokens.vectors().values():
        encoder.observe(torch.tensor([1.0, -2.0, 0.5]), torch.tensor([2.0, 0.3, 1.0]))
    windows = batch(steps=10)
    with torch.no_grad():
        same_q(step_through(net, windows), net(windows).q)


# -- bugs --------------------------------------------------------------------------------------------------------------

Patch = pytest.MonkeyPatch


def reward_off_by_one(patch: Patch) -> None:
    step = VectorStream.step
    late: dict[int, Any] = {}

    def delayed(self: VectorStream, action: Any) -> StepResult:
        outcome = step(self, action)
        before = late.get(id(self), np.zeros_like(outcome.reward))
        late[id(self)] = outcome.reward
        return dataclasses.replace(outcome, reward=before)

    patch.setattr(VectorStream, "step", delayed)


def bootstrap_through_termination(patch: Patch) -> None:
    sample = Replay.sample

    def undying(self: Replay, *args: Any, **kwargs: Any) -> SequenceBatch:
        windows = sample(self, *args, **kwargs)
        return dataclasses.replace(windows, discount=windows.valid * GAMMA)

    patch.setattr(Replay, "sample", undying)


def no_bootstrap_through_truncation(patch: Patch) -> None:
    episode = Staging.episode

    def dead(self: Staging, row: int, terminated: bool, truncated: bool) -> Episode:
        return episode(self, row, terminated or truncated, False)

    patch.setattr(Staging, "episode", dead)


def leaky_mask(patch: Patch) -> None:
    patch.setattr(
        "seqel.networks.trunks.transformer.banded_causal_mask",
        lambda first, context: torch.ones(len(first), 1, first.shape[1], first.shape[1], dtype=torch.bool),
    )


def band_off_by_one(patch: Patch) -> None:
    from seqel.networks.trunks.banded_attention import banded_causal_mask

    patch.setattr(
        "seqel.networks.trunks.transformer.banded_causal_mask",
        lambda first, context: banded_causal_mask(first, context + 1),
    )


def padding_in_the_loss(patch: Patch) -> None:
    patch.setattr("seqel.training.learner.masked_mean", lambda loss, mask: loss.mean())


def target_never_updated(patch: Patch) -> None:
    patch.setattr(Learner, "_move_target", lambda self: None)


def stale_previous_action(patch: Patch) -> None:
    forward = TokenEncoder.forward

    def stale(self: Any, observation: Any, action: Any, reward: Any, first: Any) -> Any:
        return forward(self, observation, action, reward, torch.zeros_like(first))

    patch.setattr(TokenEncoder, "forward", stale)


def wrong_row_reset(patch: Patch) -> None:
    reset = Transformer.reset
    patch.setattr(Transformer, "reset", lambda self, state, rows: reset(self, state, rows.roll(1)))


def wrong_discount_power(patch: Patch) -> None:
    from seqel.losses.returns import n_step

    patch.setattr(
        "seqel.losses.targets.n_step",
        lambda reward, discount, bootstrap, valid, n: n_step(reward, discount, bootstrap * discount, valid, n),
    )


def argmax_from_the_target(patch: Patch) -> None:
    from seqel.losses.td import double_q_bootstrap

    patch.setattr(
        "seqel.losses.targets.double_q_bootstrap", lambda online, slow, mask: double_q_bootstrap(slow, slow, mask)
    )


def normaliser_differs_in_acting(patch: Patch) -> None:
    normalise = VectorEncoder.normalise

    def raw_when_acting(self: VectorEncoder, x: torch.Tensor) -> torch.Tensor:
        return x.float() if x.ndim == 2 else normalise(self, x)

    patch.setattr(VectorEncoder, "normalise", raw_when_acting)


BUGS: list[tuple[Callable[[Patch], None], Callable[[], None]]] = [
    (reward_off_by_one, rewards_belong_to_their_steps),
    (bootstrap_through_termination, a_terminal_step_is_worth_its_reward_and_no_more),
    (no_bootstrap_through_truncation, a_truncated_step_is_worth_what_comes_after_it_too),
    (leaky_mask, the_future_does_not_show),
    (band_off_by_one, stepping_equals_one_pass),
    (padding_in_the_loss, padding_changes_no_update),
    (target_never_updated, the_target_follows_the_online_network),
    (stale_previous_action, nothing_is_known_before_an_episode),
    (wrong_row_reset, each_row_forgets_when_its_own_episode_ends),
    (wrong_discount_power, three_step_returns_by_hand),
    (argmax_from_the_target, the_online_network_picks_and_the_target_values),
    (normaliser_differs_in_acting, acting_sees_the_numbers_that_learning_sees),
]


@pytest.mark.parametrize(("bug", "check"), BUGS, ids=[bug.__name__ for bug, _ in BUGS])
def test_the_bug_is_caught(bug: Callable[[Patch], None], check: Callable[[], None], monkeypatch: Patch) -> None:
    check()
    bug(monkeypatch)
    with pytest.raises(AssertionError):
        check()
