"""Sampled negatives: which actions are scored, which are excluded, and that sums over many actions are right on average."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

import seqel
from seqel.losses.terms.cloning import cloning_loss
from seqel.losses.terms.cql import cql_penalty
from seqel.replay.in_memory_dataset import InMemoryDataset
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.training.negatives import with_negatives
from seqel.types import Episode, SequenceBatch

ACTIONS = 12


def batch(masked: bool = False) -> SequenceBatch:
    torch.manual_seed(1)
    mask = None
    if masked:
        mask = torch.rand(2, 4, ACTIONS) < 0.4
        mask[..., 3] = True
    return SequenceBatch(
        observation={}, action=torch.full((2, 3, 1), 3), reward=torch.ones(2, 3), discount=torch.ones(2, 3),
        is_first=torch.zeros(2, 4, dtype=torch.bool), valid=torch.tensor([[True] * 3, [True, True, False]]),
        loss_mask=torch.ones(2, 3, dtype=torch.bool), start_step=torch.zeros(2, dtype=torch.int64),
        previous_action=torch.zeros(2, 1, dtype=torch.int64), previous_reward=torch.zeros(2), action_mask=mask,
    )  # fmt: skip


@pytest.mark.parametrize("masked", [False, True])
def test_the_action_taken_is_the_first_candidate_and_appears_once(masked: bool) -> None:
    given = batch(masked)
    scored, judged = with_negatives(given, ACTIONS, 5)
    assert scored.candidates is not None and judged.action_mask is not None and judged.log_count is not None
    assert scored.candidates.shape == (2, 4, 6) and torch.equal(scored.action, given.action)
    assert bool((judged.action == 0).all())
    allowed = judged.action_mask
    # column 0 is valid where an action was taken: not after the last step, nor in padding
    assert allowed[..., 0].tolist() == [[True, True, True, False], [True, True, False, False]]
    for row in range(2):
        for step in range(4):
            which = scored.candidates[row, step][allowed[row, step]].tolist()
            assert len(set(which)) == len(which)
            if given.action_mask is not None:
                assert bool(given.action_mask[row, step][which].all())
            total = ACTIONS if given.action_mask is None else int(given.action_mask[row, step].sum())
            others = int(allowed[row, step, 1:].sum())
            acted = int(allowed[row, step, 0])
            if others:
                expected = np.log(max(1.0, (total - acted) / others))
                assert float(judged.log_count[row, step, 1]) == pytest.approx(expected)
            assert float(judged.log_count[row, step, 0]) == 0.0


def test_all_actions_as_negatives_give_the_sum_over_all() -> None:
    scored, judged = with_negatives(batch(), ACTIONS, ACTIONS)
    q = torch.randn(2, 3, 1, ACTIONS)
    assert scored.candidates is not None and judged.action_mask is not None and judged.log_count is not None
    some = q.gather(-1, scored.candidates[:, :-1, None])
    mask, count = judged.action_mask[:, :-1, None], judged.log_count[:, :-1, None]
    real = scored.valid
    for loss in (lambda *a: cql_penalty(a[0], a[1], 0.5, *a[2:]), cloning_loss):
        torch.testing.assert_close(loss(some, judged.action, mask, count)[real], loss(q, scored.action)[real])


def test_sums_over_sampled_negatives_are_right_on_average() -> None:
    torch.manual_seed(2)
    q = torch.randn(1, 1, 1, ACTIONS)
    one = dataclasses.replace(
        batch(), action=torch.full((1, 1, 1), 3), valid=torch.ones(1, 1, dtype=torch.bool), reward=torch.ones(1, 1)
    )
    found = []
    for _ in range(4_000):
        scored, judged = with_negatives(one, ACTIONS, 4)
        assert scored.candidates is not None and judged.action_mask is not None and judged.log_count is not None
        some = q.gather(-1, scored.candidates[:, :-1, None]) + judged.log_count[:, :-1, None]
        found.append(float(some.exp().masked_fill(~judged.action_mask[:, :-1, None], 0.0).sum()))
    assert np.mean(found) == pytest.approx(float(q.exp().sum()), rel=0.03)


FEATURES = np.random.default_rng(5).standard_normal((300, 4)).astype(np.float32)


def catalogue(count: int = 1_500) -> InMemoryDataset:
    """One decision per session: a taste is observed, one of 300 items shown at random; the reward says how well they fit.

    Only the first 60 items are ever shown: the values of the others can only be inferred from their features.
    """
    rng = np.random.default_rng(3)
    space = spaces.Box(-4.0, 4.0, (4,), np.float32)
    observation, action = ObservationSpec.from_space(space), ActionSpec((len(FEATURES),), (0,))
    episodes = []
    for _ in range(count):
        taste = rng.standard_normal(4).clip(-4, 4).astype(np.float32)
        item = int(rng.integers(60))
        reward = float(taste @ FEATURES[item])
        seen: dict[str, Any] = {"observation": np.stack([taste, taste])}
        episodes.append(Episode(seen, np.array([[item]]), np.array([reward], np.float32), terminated=True))
    return InMemoryDataset.of(episodes, observation, action)


def regret(agent: seqel.Agent) -> float:
    """Return the share of the gain from a random to the best item that is missed, among 240 items never shown; 1: random."""
    tastes = np.random.default_rng(9).standard_normal((300, 4)).clip(-4, 4).astype(np.float32)
    value = tastes @ FEATURES[60:].T
    new = np.arange(60, 300)[None].repeat(300, axis=0)
    shown, _ = agent.act(tastes, candidates=new)
    got = value[np.arange(300), shown.action - 60]
    return float(((value.max(axis=1) - got) / (value.max(axis=1) - value.mean(axis=1))).mean())


def test_values_generalise_to_similar_actions(tmp_path: Path) -> None:
    settings = {
        "network.width": 32, "network.heads": 2, "network.layers": 1, "threads": 1, "device": "cpu",
        "replay.batch_tokens": 128, "offline.updates": 800, "offline.every": 400, "checkpoint_every": 0,
        "learner.compile": "off", "learner.sampled_negatives": 16, "objective.discount": 0.0,
    }  # fmt: skip
    known = seqel.train(
        data=catalogue(), action_features=FEATURES, settings=settings, out=tmp_path / "known", progress=False
    )
    assert regret(known) < 0.3
    assert known.network.config.action_features == 4
    # without features: one output per action, rarely tried
    unknown = seqel.train(data=catalogue(), settings=settings, out=tmp_path / "unknown", progress=False)
    assert regret(unknown) > 0.8
