"""Rules 1, 2, 9 and 10: acting step by step equals one pass over the whole episode, and only the past is used."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch

from seqel.losses.config import ObjectiveConfig
from seqel.networks.trunks.transformer import Transformer
from seqel.training.config import LearnerConfig
from seqel.training.learner import Learner
from support import batch, network, same_q, step_through

TRUNKS = ["transformer", "gru"]


@pytest.mark.parametrize("trunk", TRUNKS)
@pytest.mark.parametrize("value", ["scalar", "hl-gauss"])
@pytest.mark.parametrize("dueling", [False, True])
def test_rule_1_steps_equal_forward_long_after_the_ring_wrapped(trunk: str, value: str, dueling: bool) -> None:
    net = network(trunk=trunk, value=value, dueling=dueling, bins=21)
    windows = batch(steps=60)  # the ring of 5 wraps twelve times
    with torch.no_grad():
        same_q(step_through(net, windows), net(windows).q)


def test_rule_1_on_a_trained_network() -> None:
    net = network(std=0.0, layers=3)
    learner = Learner(
        net, ObjectiveConfig(0.9, trace="peng"), LearnerConfig(warmup=1, learning_rate=3e-3, target_rate=0.01)
    )
    for seed in range(30):
        learner.update(batch(rows=8, steps=20, seed=seed))
    windows = batch(rows=3, steps=80, seed=99)
    with torch.no_grad():
        same_q(step_through(net, windows), net(windows).q)


@pytest.mark.parametrize("start", [1, 1_000, 100_000])
def test_rule_1_at_large_step_numbers(start: int) -> None:
    """Angles and clock come from the step number in float64: a late window is as exact as an early one."""
    net = network(qk_norm=True)
    windows = batch(steps=40, start=start)
    state = net.initial_state(2)
    state["position"][:] = start
    state["keys"][:], state["values"][:] = 0.0, 0.0
    with torch.no_grad():
        q = step_through(net, windows, state)
        whole = net(windows).q
    reach = net.config.layers * (net.config.context - 1)  # the steps before the window differ (none, zero keys)
    same_q(q[:, reach:], whole[:, reach:])


def test_rule_1_the_receptive_field_is_layers_times_context_minus_one_plus_one() -> None:
    net = network(layers=3, context=4, std=0.5)
    windows = batch(rows=1, steps=30)
    with torch.no_grad():
        before = net(windows).q[0, -1]
        moved = []
        for back in range(20):
            seen = windows.observation["observation"].clone()
            seen[0, 30 - back] += 1.0
            changed = dataclasses.replace(windows, observation={"observation": seen})
            moved.append(bool((net(changed).q[0, -1] - before).abs().max() > 1e-7))
    assert moved == [True] * (3 * 3 + 1) + [False] * 10


@pytest.mark.parametrize("trunk", TRUNKS)
def test_causality_changing_step_t_never_changes_q_before_it(trunk: str) -> None:
    net = network(trunk=trunk, context=20)
    windows = batch(steps=12)
    with torch.no_grad():
        q = net(windows).q
        for t in range(13):
            seen = windows.observation["observation"].clone()
            seen[:, t] += 1.0
            other = net(dataclasses.replace(windows, observation={"observation": seen})).q
            assert torch.equal(other[:, :t], q[:, :t])
            assert not torch.allclose(other[:, t], q[:, t])
        for t in range(12):
            action, reward = windows.action.clone(), windows.reward.clone()
            action[:, t] = (action[:, t] + 1) % 3
            reward[:, t] += 1.0
            other = net(dataclasses.replace(windows, action=action, reward=reward)).q
            assert torch.equal(other[:, : t + 1], q[:, : t + 1]), "an action is visible from the next step on"
            assert not torch.allclose(other[:, t + 1], q[:, t + 1])


@pytest.mark.parametrize("trunk", TRUNKS)
def test_rows_may_be_partial_in_any_order_and_reset_one_by_one(trunk: str) -> None:
    net = network(trunk=trunk)
    windows = batch(rows=4, steps=30)
    first = windows.is_first.clone()
    first[1, 7] = first[2, 19] = first[1, 23] = True
    windows = dataclasses.replace(windows, is_first=first)
    state = net.initial_state(6)
    where = torch.tensor([4, 0, 5, 2])  # window i lives in row where[i]
    found = torch.zeros(4, 31, 1, 3)
    with torch.no_grad():
        for t in range(31):
            for part in ([2, 0], [3], [1]):  # three calls per step
                index = torch.tensor(part)
                forget = torch.zeros(6, dtype=torch.bool)
                forget[where[index]] = first[index, t]
                net.trunk.reset(state, forget)
                previous = windows.action[index, t - 1] if t else windows.previous_action[index]
                reward = windows.reward[index, t - 1] if t else windows.previous_reward[index]
                seen = {"observation": windows.observation["observation"][index, t]}
                out, state = net.step(seen, previous, reward, first[index, t], state, where[index])
                found[index, t] = out.q
        same_q(found, net(windows).q)


@pytest.mark.parametrize("trunk", TRUNKS)
def test_rule_2_prefill_leaves_the_memory_that_stepping_leaves(trunk: str) -> None:
    net = network(trunk=trunk)
    windows = batch(rows=3, steps=29)
    lengths = torch.tensor([30, 4, 0])
    state = net.prefill(windows, lengths)
    stepped = net.initial_state(3)
    for row in range(3):
        for t in range(int(lengths[row])):
            index = torch.tensor([row])
            previous = windows.action[index, t - 1] if t else windows.previous_action[index]
            reward = windows.reward[index, t - 1] if t else windows.previous_reward[index]
            seen = {"observation": windows.observation["observation"][index, t]}
            with torch.no_grad():
                _, stepped = net.step(seen, previous, reward, windows.is_first[index, t], stepped, index)
    for name in state:
        assert torch.allclose(state[name].float(), stepped[name].float(), atol=1e-5), name


def test_rule_9_the_step_is_pure() -> None:
    net = network()
    assert isinstance(net.trunk, Transformer)
    state = net.initial_state(2)
    state["keys"].normal_()
    state["values"].normal_()
    state["position"][:] = torch.tensor([3, 12])
    before = {name: tensor.clone() for name, tensor in state.items()}
    x = torch.randn(2, 16)
    one, new = net.trunk.step_pure(x, state)
    other, again = net.trunk.step_pure(x, state)
    assert torch.equal(one, other) and set(new) == {"keys", "values"}
    assert all(torch.equal(new[name], again[name]) for name in new)
    assert all(torch.equal(before[name], state[name]) for name in before)


@pytest.mark.parametrize(
    "settings", [{}, {"gate": "gru"}, {"qk_norm": True}, {"clock": False}, {"trunk": "gru", "layers": 3}]
)
def test_rule_9_the_pure_step_and_what_is_remembered_of_it_equal_the_step(settings: dict[str, Any]) -> None:
    net = network(**settings)
    windows = batch(rows=3, steps=3 * net.config.context)
    state, pure = net.initial_state(3), net.initial_state(3)
    with torch.inference_mode():
        for t in range(3 * net.config.context):
            forget = torch.tensor([t == 0, t in (0, 7), t == 0])
            for one in (state, pure):
                net.trunk.reset(one, forget)
            given = (
                {path: leaf[:, t] for path, leaf in windows.observation.items()},
                windows.action[:, t],
                windows.reward[:, t],
                forget,
            )
            out, state = net.step(*given, state)
            other, new = net.step_pure(*given, pure)
            net.trunk.remember(pure, new)
            same_q(other.q, out.q)
            for name, tensor in pure.items():
                torch.testing.assert_close(tensor, state[name], atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_a_compiled_step_is_the_eager_one_and_other_batches_stay_eager() -> None:
    eager = network()
    compiled = copy.deepcopy(eager)
    compiled.compile_step(2)
    for rows in (2, 3):
        windows = batch(rows=rows, steps=2 * eager.config.context)
        with torch.inference_mode():
            same_q(step_through(compiled, windows), step_through(eager, windows))
    assert set(compiled._compiled) == {2}
    changed = copy.deepcopy(compiled)
    with torch.inference_mode():
        changed.head.rescale(2.0)
        changed.tokens.first.add_(1.0)
        eager.load_state_dict(changed.state_dict())
        windows = batch(rows=2)
        same_q(step_through(changed, windows), step_through(eager, windows))


def test_the_order_in_the_ring_does_not_matter() -> None:
    """Keys are stored rotated, so a permuted ring (with what is empty) attends to the same."""
    from seqel.networks.trunks.banded_attention import ring_attention

    q, k, v = torch.randn(3, 2, 2, 4)
    keys, values, empty = torch.randn(2, 2, 6, 4), torch.randn(2, 2, 6, 4), torch.rand(2, 1, 6) < 0.3
    order = torch.randperm(6)
    one = ring_attention(q, k, v, keys, values, empty)
    other = ring_attention(q, k, v, keys[:, :, order], values[:, :, order], empty[:, :, order])
    assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("trunk", TRUNKS)
def test_packed_episodes_equal_episodes_alone(trunk: str) -> None:
    net = network(trunk=trunk, context=20)
    windows = batch(rows=1, steps=11)
    first = windows.is_first.clone()
    first[0, 5] = True
    with torch.no_grad():
        both = net(dataclasses.replace(windows, is_first=first)).q
        alone = net(
            dataclasses.replace(
                windows,
                observation={"observation": windows.observation["observation"][:, 5:]},
                action=windows.action[:, 5:],
                reward=windows.reward[:, 5:],
                is_first=first[:, 5:],
                previous_action=windows.action[:, 4],
                previous_reward=windows.reward[:, 4],
            )
        ).q
    assert torch.allclose(both[:, 5:], alone, atol=1e-5)


def test_attention_weights_are_the_ones_used_and_stay_in_the_band() -> None:
    net = network(context=4)
    weights = net.attention(batch(steps=12))
    assert weights.shape == (2, 2, 2, 13, 13)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 2, 2, 13), atol=1e-5)
    i, j = torch.meshgrid(torch.arange(13), torch.arange(13), indexing="ij")
    outside = (j > i) | (j <= i - 4)
    assert (weights[..., outside] == 0).all() and (weights[..., ~outside] > 0).all()


def test_rule_7_the_head_changes_its_unit_and_no_value() -> None:
    net = network(dueling=True)
    windows = batch()
    with torch.no_grad():
        before = net(windows).q
        net.head.rescale(0.01)
        assert torch.allclose(net(windows).q, before, rtol=1e-5, atol=1e-6)
        net.head.rescale(100.0)
        assert torch.allclose(net(windows).q, before, rtol=1e-5, atol=1e-6)


def test_an_untrained_network_values_everything_at_zero() -> None:
    for value in ("scalar", "hl-gauss"):
        net = network(std=0.0, value=value)
        with torch.no_grad():
            assert net(batch()).q.abs().max() < 1e-5
