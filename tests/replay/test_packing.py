"""Packing: several short episodes per row give the same values, targets and losses as one episode per row."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from seqel.losses.config import ObjectiveConfig
from seqel.losses.objective import step_loss
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork
from seqel.replay.buffer import Replay
from seqel.replay.packing import place
from seqel.spaces import ActionSpec, Leaf, ObservationSpec
from seqel.types import Episode, SequenceBatch

SPEC = ObservationSpec((Leaf("observation", (), "vector", (2,), "float32", low=(-9.0, -9.0), high=(9.0, 9.0)),))


def filled(lengths: list[int]) -> Replay:
    rng = np.random.default_rng(0)
    replay = Replay(SPEC.storage, 4_000, actions=3)
    for length in lengths:
        replay.add(
            Episode(
                observation={"observation": rng.standard_normal((length + 1, 2)).astype(np.float32)},
                action=rng.integers(0, 3, (length, 1)),
                reward=rng.standard_normal(length).astype(np.float32),
                terminated=bool(rng.integers(2)),
            )
        )
    return replay


def network(value: str) -> QNetwork:
    torch.manual_seed(0)
    net = QNetwork(NetworkConfig(width=16, heads=2, context=6, value=value, bins=21), SPEC, ActionSpec((3,), (0,)))  # type: ignore[arg-type]
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return net.eval()


def losses(batch: SequenceBatch, net: QNetwork, objective: ObjectiveConfig) -> np.ndarray:
    with torch.no_grad():
        out = net(batch)
        found = step_loss(batch, out, out, net.head.scale, objective, net.head.values)
    return np.sort(found.loss[batch.loss_mask].numpy())


@pytest.mark.parametrize("value", ["scalar", "hl-gauss"])
@pytest.mark.parametrize(
    "objective",
    [
        ObjectiveConfig(0.9, trace="peng"),
        ObjectiveConfig(0.9, lambda_=0.0, n_step=3),
        ObjectiveConfig(0.9, trace="watkins"),
    ],
    ids=["peng", "n-step", "watkins"],
)
def test_packed_losses_equal_unpacked_ones(value: str, objective: ObjectiveConfig) -> None:
    replay = filled([3, 11, 1, 5, 40, 2, 7, 30, 4])  # 40 and 30 are longer than the window: they begin inside
    net = network(value)
    batches = [
        replay.sample(24, window=12, context=6, discount=0.9, rng=np.random.default_rng(5), pack=pack)
        for pack in (False, True)
    ]
    assert batches[1].reward.shape[0] < batches[0].reward.shape[0]
    assert batches[0].num_learned == batches[1].num_learned == int(batches[1].loss_mask.sum()) > 0
    np.testing.assert_allclose(losses(batches[0], net, objective), losses(batches[1], net, objective), atol=2e-5)


def test_a_window_that_starts_inside_an_episode_is_first_in_its_row() -> None:
    length = np.array([3, 12, 4, 12, 2, 5])
    begins = np.array([True, False, True, True, True, False])
    found = place(length, begins, 12, pack=True, width=12)
    rows = found.target // 13
    for window in np.flatnonzero(~begins):
        at = found.target[found.window == window]
        assert at[0] % 13 == 0, "begins a row"
    assert len(np.unique(found.target)) == length.sum() + len(length), "no two tokens in one place"
    assert [int(np.ptp(rows[found.window == w])) for w in range(6)] == [0] * 6


def test_packing_leaves_little_padding_for_short_episodes() -> None:
    rng = np.random.default_rng(1)
    length = rng.integers(3, 15, 200)
    found = place(length, np.ones(200, bool), None, pack=True, width=128)
    assert (length + 1).sum() / (found.rows * (found.steps + 1)) > 0.8
