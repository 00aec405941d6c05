"""The Transformer trunk: windows from the middle of an episode, rows at different steps, and recovery from a NaN."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from seqel.losses.config import ObjectiveConfig
from seqel.networks.trunks.banded_attention import phase_cosines
from seqel.networks.trunks.base import State
from seqel.networks.trunks.steps import step_numbers
from seqel.networks.trunks.transformer import TABLE, TABLE_BLOCK, Transformer
from seqel.training.config import LearnerConfig
from seqel.training.learner import Learner
from seqel.types import SequenceBatch
from support import batch, network, same_q, step_through


def cut(windows: SequenceBatch, at: int, steps: int) -> SequenceBatch:
    """The window of `steps` transitions that begins at step `at` of these episodes."""
    return dataclasses.replace(
        windows,
        observation={path: leaf[:, at : at + steps + 1] for path, leaf in windows.observation.items()},
        action=windows.action[:, at : at + steps],
        reward=windows.reward[:, at : at + steps],
        discount=windows.discount[:, at : at + steps],
        is_first=windows.is_first[:, at : at + steps + 1],
        valid=windows.valid[:, at : at + steps],
        loss_mask=windows.loss_mask[:, at : at + steps],
        start_step=windows.start_step + at,
        previous_action=windows.action[:, at - 1],
        previous_reward=windows.reward[:, at - 1],
    )


def test_step_numbers_by_hand() -> None:
    first = torch.tensor([[True, False, False, True, False], [False, False, True, False, True], [False] * 5])
    assert step_numbers(first, torch.tensor([0, 7, 100_000])).tolist() == [
        [0, 1, 2, 0, 1],
        [7, 8, 0, 1, 0],
        [100_000, 100_001, 100_002, 100_003, 100_004],
    ]


@pytest.mark.parametrize("at", [1, 17, 40])
def test_rule_1_a_window_from_the_middle_equals_the_whole_episode_past_its_burn_in(at: int) -> None:
    net = network(layers=3, context=5)
    whole = batch(rows=2, steps=70)
    reach = 3 * (5 - 1)
    with torch.no_grad():
        q, part = net(whole).q, net(cut(whole, at, 28)).q
        same_q(part[:, reach:], q[:, at + reach : at + 29])
        assert (part[:, reach - 1] - q[:, at + reach - 1]).abs().max() > 1e-7, "one step earlier they may differ"


def test_rule_1_rows_at_different_step_numbers_up_to_100_000() -> None:
    """Every row has its own step number, and each ring has already wrapped thousands of times at the start."""
    net = network(layers=2, context=5)
    starts = torch.tensor([0, 3, 4_999, 99_960])
    windows = dataclasses.replace(batch(rows=4, steps=40, start=1), start_step=starts)
    first = windows.is_first.clone()
    first[0, 0] = True
    windows = dataclasses.replace(windows, is_first=first)
    state = net.initial_state(4)
    state["position"][:] = starts
    with torch.no_grad():
        stepped, whole = step_through(net, windows, state), net(windows).q
    same_q(stepped[:, 8:], whole[:, 8:])
    same_q(stepped[:1], whole[:1])


def test_rule_1_across_the_step_numbers_where_a_counter_could_wrap() -> None:
    """A constant offset of all angles would not affect differences; a jump inside a window does, and a short clock too."""
    net = network(layers=2, context=5)
    starts = torch.tensor([240, 4_080, 32_750, 65_520, 99_980])
    windows = dataclasses.replace(batch(rows=5, steps=40, start=1), start_step=starts)
    state = net.initial_state(5)
    state["position"][:] = starts
    with torch.no_grad():
        stepped, whole = step_through(net, windows, state), net(windows).q
        same_q(stepped[:, 8:], whole[:, 8:])
        keys = net.prefill(windows, torch.full((5,), 41))["keys"]
    assert torch.equal(state["position"], starts + 41)
    torch.testing.assert_close(state["keys"], keys, atol=1e-5, rtol=1e-5)  # rotated by their true step numbers


@pytest.mark.parametrize("start", [TABLE_BLOCK - 6, TABLE - 6])
def test_rule_1_where_the_table_of_waves_grows_and_where_it_ends(start: int) -> None:
    net = network(layers=2, context=5)
    windows = batch(rows=2, steps=20, start=start)
    state = net.initial_state(2)
    state["position"][:] = start
    with torch.no_grad():
        same_q(step_through(net, windows, state)[:, 8:], net(windows).q[:, 8:])


def test_the_table_of_waves_is_the_same_however_it_grew() -> None:
    grown, at_once = network().trunk, network().trunk
    assert isinstance(grown, Transformer) and isinstance(at_once, Transformer)
    for steps in ([3, 0], [TABLE_BLOCK, 1], [3 * TABLE_BLOCK, 7]):
        position = torch.tensor(steps)
        found = grown._known_waves(position, max(steps))
        torch.testing.assert_close(found, phase_cosines(position, grown.frequency, grown.phase), atol=1e-6, rtol=0.0)
    at_once._known_waves(torch.tensor([3 * TABLE_BLOCK]), 3 * TABLE_BLOCK)
    assert torch.equal(grown.table, at_once.table) and len(grown.table) == 4 * TABLE_BLOCK
    assert not any("table" in name for name in network().state_dict())


def test_the_size_of_normalised_queries_and_keys_does_not_matter() -> None:
    net, windows = network(qk_norm=True), batch()
    with torch.no_grad():
        before = net(windows).q
        blocks: Any = net.trunk.blocks
        for block in blocks:
            block.qkv.weight[:16] *= 7.0  # queries; width 16
            block.qkv.weight[16:32] *= 0.3  # keys
        torch.testing.assert_close(net(windows).q, before, atol=1e-3, rtol=1e-3)
        blocks[0].qkv.weight[32:] *= 2.0  # values still say how large they are
        assert (net(windows).q - before).abs().max() > 0.05


def test_rule_1_on_a_briefly_trained_network_after_a_reset_in_mid_window() -> None:
    net = network(std=0.0, layers=2, context=6, value="hl-gauss", bins=31)
    learner = Learner(
        net, ObjectiveConfig(0.95, trace="peng"), LearnerConfig(warmup=1, learning_rate=3e-3, target_rate=0.01)
    )
    for seed in range(20):
        learner.update(batch(rows=8, steps=20, seed=seed))
    windows = batch(rows=3, steps=90, seed=99)
    first = windows.is_first.clone()
    first[0, 33] = first[1, 71] = first[1, 72] = True
    windows = dataclasses.replace(windows, is_first=first)
    with torch.no_grad():
        whole = net(windows).q
        assert whole.std() > 1e-2, "it has learned something to compare"
        same_q(step_through(net, windows), whole)


@pytest.mark.parametrize("trunk", ["transformer", "gru"])
def test_rule_2_after_an_update_prefill_equals_a_fresh_computation_with_the_new_weights(trunk: str) -> None:
    net = network(trunk=trunk, std=0.1)
    windows = batch(rows=2, steps=20)
    past, now = dataclasses.replace(windows), torch.tensor([20, 20])
    state = net.initial_state(2)
    with torch.no_grad():
        stale = step_through(net, cutoff(windows, 19), state)
        assert stale.shape[1] == 20
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
        fresh = net.prefill(past, now)
        kept, _ = net.step(last(windows), windows.action[:, 19], windows.reward[:, 19], windows.is_first[:, 20], state)
        new, _ = net.step(last(windows), windows.action[:, 19], windows.reward[:, 19], windows.is_first[:, 20], fresh)
        wanted = net(windows).q[:, 20]
    same_q(new.q, wanted)
    assert (kept.q - wanted).abs().max() > 1e-4, "keys of older weights are not the same: the test can fail"


def last(windows: SequenceBatch) -> dict[str, torch.Tensor]:
    return {path: leaf[:, -1] for path, leaf in windows.observation.items()}


def cutoff(windows: SequenceBatch, steps: int) -> SequenceBatch:
    """The first `steps` transitions."""
    return dataclasses.replace(
        windows,
        observation={path: leaf[:, : steps + 1] for path, leaf in windows.observation.items()},
        action=windows.action[:, :steps],
        reward=windows.reward[:, :steps],
        is_first=windows.is_first[:, : steps + 1],
    )


@pytest.mark.parametrize("trunk", ["transformer", "gru"])
def test_prefill_of_packed_windows_keeps_the_last_episode_only(trunk: str) -> None:
    net = network(trunk=trunk, context=4)
    windows = batch(rows=3, steps=24)
    first = windows.is_first.clone()
    first[0, 9] = first[1, 5] = first[1, 22] = True
    windows = dataclasses.replace(windows, is_first=first)
    lengths = torch.tensor([24, 24, 3])
    with torch.no_grad():
        state = net.prefill(windows, lengths)
        stepped = net.initial_state(3)
        for row, length in enumerate(lengths.tolist()):
            for t in range(length):
                index = torch.tensor([row])
                net.trunk.reset(stepped, torch.arange(3).eq(row) & first[row, t])
                previous = windows.action[index, t - 1] if t else windows.previous_action[index]
                reward = windows.reward[index, t - 1] if t else windows.previous_reward[index]
                seen = {"observation": windows.observation["observation"][index, t]}
                _, stepped = net.step(seen, previous, reward, first[index, t], stepped, index)
        now = torch.tensor([23, 23, 2])
        rows = torch.arange(3)
        seen = {"observation": windows.observation["observation"][rows, now + 1]}
        begins = torch.zeros(3, dtype=torch.bool)
        one, _ = net.step(seen, windows.action[rows, now], windows.reward[rows, now], begins, state)
        other, _ = net.step(seen, windows.action[rows, now], windows.reward[rows, now], begins, stepped)
    same_q(one.q, other.q)
    if "position" in state:
        assert state["position"].tolist() == [15 + 1, 2 + 1, 3 + 1] == stepped["position"].tolist()


@pytest.mark.parametrize("trunk", ["transformer", "gru"])
def test_a_nan_does_not_outlive_its_episode(trunk: str) -> None:
    net = network(trunk=trunk)
    windows = batch(rows=2, steps=10)
    seen = windows.observation["observation"].clone()
    seen[0, 3] = torch.nan
    state = net.initial_state(2)
    poisoned = step_through(net, dataclasses.replace(windows, observation={"observation": seen}), state)
    assert poisoned[0, 3:].isnan().all() and not poisoned[1].isnan().any(), "no other row is touched"
    with torch.no_grad():
        same_q(step_through(net, windows, state), net(windows).q)  # its first steps reset both rows


def test_dropout_is_only_used_in_training() -> None:
    net = network(dropout=0.5)
    windows = batch()
    with torch.no_grad():
        assert torch.equal(net(windows).q, net(windows).q)
        net.train()
        assert not torch.equal(net(windows).q, net(windows).q)


def test_rule_9_the_step_exports_as_one_graph() -> None:
    net = network()
    state = net.initial_state(2)
    state["position"] = torch.tensor([3, 12])
    arguments = (torch.randn(2, 16), state)

    class Step(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = net.trunk

        def forward(self, x: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
            return self.trunk.step_pure(x, state)

    exported = torch.export.export(Step(), arguments).module()
    torch.testing.assert_close(exported(*arguments), net.trunk.step_pure(*arguments))
