"""Fitted Q evaluation, part by part and by hand: the input of each member, when it ends, and its estimates per step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from seqel.ope.fqe import FQETrainer, StepEstimates, fitted_config
from seqel.ope.policies import ConstantAction
from seqel.replay.in_memory_dataset import InMemoryDataset
from seqel.spaces import ActionSpec
from seqel.training.held_out import HeldOut
from seqel.types import Episode
from seqel.values.policy import log_policy
from test_exactness import SPEC

POLICIES = [ConstantAction(0, 2, "always 0"), ConstantAction(1, 2, "always 1")]


def episodes(lengths: tuple[int, ...] = (3, 7, 1, 5)) -> list[Episode]:
    """The observation is a number below 5; every second session is truncated; only the first has known probabilities."""
    rng = np.random.default_rng(0)
    return [
        Episode(
            {"observation": rng.integers(0, 5, (length + 1, 1))}, rng.integers(0, 2, (length, 1)),
            rng.normal(size=length).astype(np.float32), terminated=number % 2 == 0, truncated=number % 2 == 1,
            behaviour_prob=np.full(length, 0.25 if number == 0 else np.nan, np.float32),
        )
        for number, length in enumerate(lengths)
    ]  # fmt: skip


def session(context: int = 8, lengths: tuple[int, ...] = (3, 7, 1, 5), window: int = 0, **given: Any) -> FQETrainer:
    config = fitted_config(0.9, context, 10, 1, width=16, heads=2, layers=1)
    config = replace(config, replay=replace(config.replay, window=window))
    config = replace(config, learner=replace(config.learner, compile="off"), threads=1, device="cpu")
    made = FQETrainer(config, InMemoryDataset.of(episodes(lengths), SPEC, ActionSpec((2,), (0,))), POLICIES, **given)
    torch.manual_seed(0)
    for parameter in made.learner.target.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return made


def test_every_policy_is_evaluated_once_at_every_observation() -> None:
    made = session()
    assert made.table.shape == (20, 2, 1, 2), "3 + 7 + 1 + 5 transitions and 4 ends, 2 policies, 1 dimension, 2 actions"
    for slot in set(range(20)) - {3, 13}:  # the ends that nothing is bootstrapped from
        assert made.table[slot].tolist() == [[[1.0, 0.0]], [[0.0, 1.0]]], slot
    shared = session(table=made.table)
    assert shared.table is made.table


def test_a_policy_is_also_evaluated_at_a_first_step_that_is_not_trained_on() -> None:
    """The value of a session is that of its first step, so the policy's choice there must be known."""
    data = [replace(one, by_agent=np.arange(len(one)) > 0) for one in episodes()]
    config = fitted_config(0.9, 8, 10, 1, width=16, heads=2, layers=1)
    config = replace(config, learner=replace(config.learner, compile="off"), threads=1, device="cpu")
    made = FQETrainer(config, InMemoryDataset.of(data, SPEC, ActionSpec((2,), (0,))), POLICIES)
    for slot in (0, 4, 12, 14):
        assert made.table[slot].tolist() == [[[1.0, 0.0]], [[0.0, 1.0]]]


def test_a_member_weights_whole_sessions_by_exponential_draws() -> None:
    made = session()
    drawn = np.random.default_rng((1, 0xB007)).standard_exponential(4).astype(np.float32)
    assert made.counts.tolist() == np.repeat(drawn, [4, 8, 2, 6]).tolist()


def test_a_batch_holds_what_each_policy_would_do_and_how_much_each_step_counts() -> None:
    made = session()
    (batch,) = made.walk(made.source.buffer)
    given = made.prepare(batch)
    assert given.policy is not None and given.weight is not None
    assert given.action.shape == (4, 7, 1) and (given.action == batch.action).all()
    assert given.policy.shape == (4, 8, 2, 1, 2)
    begin = [0, 4, 12, 14]
    for row, length in enumerate((3, 7, 1, 5)):
        assert given.weight[row, :length].tolist() == [made.counts[begin[row]].item()] * length
        assert given.policy[row, :length].tolist() == [[[[1.0, 0.0]], [[0.0, 1.0]]]] * length


@pytest.mark.parametrize(("context", "window"), [(8, 0), (2, 6)])
def test_the_estimates_of_each_step_are_those_of_the_target_network(context: int, window: int) -> None:
    """Also if a session is read in several windows: windows of 6 with a burn-in of 2 read 13 steps in three."""
    made = session(context, (3, 7, 1, 13), window)
    recorded = made.source.buffer
    steps = made.steps_of(recorded)
    assert steps.valid.shape == (4, 14) and steps.q.shape == steps.v.shape == (1, 2, 4, 14)
    assert steps.valid.sum(axis=1).tolist() == [3, 7, 1, 13] and steps.valid.dtype == np.bool_
    (whole,) = recorded.batches(window=32, context=0, discount=0.9)  # every session in one window
    with torch.no_grad():
        out = made.learner.target(whole)
    chance = log_policy(out.policy_logits)[:, :, 0].exp()
    for n, one in enumerate(episodes((3, 7, 1, 13))):
        length, action = len(one), one.action[:, 0]
        assert steps.reward[n, :length].tolist() == one.reward.tolist() and not steps.reward[n, length:].any()
        estimated = chance[n, np.arange(length), action].numpy()
        behaviour = np.full(length, 0.25) if n == 0 else estimated
        np.testing.assert_allclose(steps.behaviour[n, :length], behaviour, rtol=1e-4, atol=1e-5)
        assert (steps.behaviour[n, length:] == 1.0).all()
        for k in range(2):
            q = out.q[n, :, k, 0].numpy()
            np.testing.assert_allclose(steps.q[0, k, n, :length], q[np.arange(length), action], rtol=1e-3, atol=1e-4)
            np.testing.assert_allclose(steps.v[0, k, n, :length], q[:length, k], rtol=1e-3, atol=1e-4)
            assert steps.policy[k, n, :length].tolist() == (action == k).astype(float).tolist()
            outside = (chance[n, :length, k] < 0.05 / 2).float().numpy()
            assert steps.off_support[k, n, :length].tolist() == outside.tolist()
            after = steps.v[0, k, n, length:]
            if one.truncated:
                assert after[0] == pytest.approx(q[length, k], rel=1e-3, abs=1e-4), "a truncated session"
                after = after[1:]
            assert not after.any(), "nothing follows an end"


def test_rare_actions_are_defined_relative_to_uniform_play_among_the_allowed_actions() -> None:
    """Three actions, of which two are allowed at even steps: rare is below 1/40 there, below 1/60 elsewhere."""
    rng = np.random.default_rng(1)
    mask = np.ones((41, 3), bool)
    mask[::2, 2] = False
    action = np.where(np.arange(40) % 2 == 0, rng.integers(0, 2, 40), rng.integers(0, 3, 40))[:, None]
    one = Episode(
        {"observation": rng.integers(0, 5, (41, 1))},
        action,
        np.zeros(40, np.float32),
        terminated=True,
        action_mask=mask,
    )
    data = InMemoryDataset.of([one, one], SPEC, ActionSpec((3,), (0,)))
    config = fitted_config(0.9, 41, 10, 1, width=16, heads=2, layers=1)
    config = replace(config, learner=replace(config.learner, compile="off"), threads=1, device="cpu")
    made = FQETrainer(config, data, [ConstantAction(0, 3), ConstantAction(2, 3)])
    torch.manual_seed(0)
    policy = made.learner.target.policy
    assert isinstance(policy, torch.nn.Module)
    for parameter in policy.parameters():
        parameter.data.add_(2.0 * torch.randn_like(parameter))
    steps = made.steps_of(data.buffer)
    (whole,) = data.buffer.batches(window=64, context=0, discount=0.9)
    with torch.no_grad():
        out = made.learner.target(whole)
    assert out.policy_logits is not None
    logits = out.policy_logits[0, :40, 0].double().numpy()
    chance = np.exp(logits) * mask[:40]
    chance /= chance.sum(axis=1, keepdims=True)
    seldom = chance < 0.05 / mask[:40].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(steps.behaviour[0, :40], chance[np.arange(40), action[:, 0]], rtol=1e-3)
    assert steps.off_support[0, 0, :40].tolist() == seldom[:, 0].astype(float).tolist()
    # action 2 where it is allowed; where it is not, either of the others
    expected = np.where(mask[:40, 2], seldom[:, 2], seldom[:, :2].mean(axis=1))
    np.testing.assert_allclose(steps.off_support[1, 0, :40], expected)
    assert 0 < expected.sum() < 40 and seldom[:, 0].any(), "some are rare and some are not"


def test_members_are_stacked_and_their_behaviour_policies_averaged() -> None:
    one = session().steps_of(session().source.buffer)
    other = replace(
        one,
        behaviour=one.behaviour * 0.5,
        q=one.q + 1,
        v=one.v + 2,
        off_support=one.off_support + 0.5,
        iterate_std=one.iterate_std + 3,
    )
    both = StepEstimates.of([one, other])
    np.testing.assert_allclose(both.behaviour, 0.75 * one.behaviour)
    np.testing.assert_allclose(both.off_support, one.off_support + 0.25)
    assert np.array_equal(both.q, np.concatenate([one.q, one.q + 1]))
    assert np.array_equal(both.v, np.concatenate([one.v, one.v + 2]))
    assert np.array_equal(both.iterate_std, np.concatenate([one.iterate_std, one.iterate_std + 3]))
    for name in ("valid", "reward", "policy"):
        assert np.array_equal(getattr(both, name), getattr(one, name))


def test_iterate_std_is_the_deviation_over_the_second_half_of_the_validations() -> None:
    made = session()
    assert made.iterate_std().tolist() == [0.0, 0.0], "there was no validation"
    values = [[9.0, 9.0], [5.0, 5.0], [1.0, 4.0], [3.0, 4.0]]
    for count, expected in ((1, [0.0, 0.0]), (2, [8**0.5, 8**0.5]), (3, [8**0.5, 0.5**0.5]), (4, [2**0.5, 0.0])):
        made.first_values = [np.array(one) for one in values[:count]]
        assert made.iterate_std().tolist() == pytest.approx(expected)


def test_the_fit_ends_and_goes_back_when_the_cloning_loss_rises_clearly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = session()
    bias = next(iter(made.learner.target.parameters()))

    class Fixed:
        def __init__(self, nats: float) -> None:
            self.nats = nats

        def result(self) -> HeldOut:
            return HeldOut(0.0, 0.0, 0.0, self.nats, 0.0, 0.0, 0.0, 1)

        def first_values(self) -> np.ndarray:
            return np.array([self.nats, 0.0])

    ended = []
    for number, nats in enumerate((0.5, 0.3, 0.34, 0.36)):
        bias.data.fill_(float(number))
        monkeypatch.setattr(made, "validation_sums", lambda nats=nats: Fixed(nats))
        assert made.validate().imitation == nats
        ended.append(made.solved)
    assert ended == [False, False, False, True] and made.known_best == 0.3
    assert (bias == 2.0).all(), "the weights of the last validation within 0.05 nats of the best"
    assert np.array(made.first_values)[:, 0].tolist() == [0.5, 0.3, 0.34, 0.36]


def test_the_config_of_a_fit() -> None:
    config = fitted_config(0.97, 12, 400, 3, width=16)
    assert (config.seed, config.network.context, config.network.width, config.network.policy_head) == (
        3,
        12,
        16,
        "auxiliary",
    )
    objective = config.objective
    assert (objective.discount, objective.lambda_, objective.trace, objective.cloning_weight) == (
        0.97,
        0.9,
        "retrace",
        0.1,
    )
    assert (config.offline.updates, config.offline.every, config.offline.held_out, config.offline.patience) == (
        400,
        20,
        0.1,
        0,
    )
    assert (config.learner.learning_rate, config.learner.target_rate, config.replay.batch_tokens) == (1e-3, 0.05, 832)
    assert fitted_config(0.9, updates=5).offline.every == 1 and fitted_config(0.9, updates=419).offline.every == 20
    plain = fitted_config(0.9)
    assert (plain.seed, plain.network.context, plain.offline.updates) == (0, 0, 3_000)
