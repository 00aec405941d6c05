"""Off-policy evaluation against values computed by hand: the cue task of `test_exactness.py`, recorded by a poor player."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from seqel.errors import DataError
from seqel.ope.estimation import OffPolicyEvaluation, estimate_policies, tabulate
from seqel.ope.fqe import FQETrainer, fitted_config
from seqel.ope.policies import AgentPolicy, BehaviourPolicy, ConstantAction
from seqel.replay.in_memory_dataset import InMemoryDataset
from seqel.spaces import ActionSpec
from seqel.training.held_out import HeldOut
from seqel.training.offline import loop as offline
from test_exactness import GAMMA, SPEC, cue_episodes
from test_exactness_offline import poor_data

POLICIES = [ConstantAction(0, 2, "always 0"), ConstantAction(1, 2, "always 1")]
EVERY = [BehaviourPolicy((0.5, 0.5)), *POLICIES]
# cue 0 and cue 1: [0 + g 0 + g^2 (1 or -0.5)] and [0 + g 0.1 + g^2 2 (-0.5 or 1)]
EXACT = {0: (GAMMA**2, -0.5 * GAMMA**2), 1: (0.1 * GAMMA - GAMMA**2, 0.1 * GAMMA + 2 * GAMMA**2)}


def small(updates: int = 350, seed: int = 1) -> object:
    config = fitted_config(GAMMA, 4, updates, seed, width=32, heads=2, layers=1)
    learner = replace(config.learner, learning_rate=3e-3, warmup=20, target_rate=0.05, compile="off")
    return replace(config, learner=learner, replay=replace(config.replay, batch_tokens=256), threads=1, device="cpu")


def test_fitted_values_and_step_estimates_are_exact() -> None:
    session = FQETrainer(small(), poor_data(), POLICIES)  # type: ignore[arg-type]
    for _ in offline.records(session):
        pass
    steps = session.steps_of(session.source.buffer)
    recorded = session.source.buffer
    assert steps.iterate_std.shape == (1, 2) and (steps.iterate_std > 0).all() and (steps.iterate_std < 0.1).all()
    assert steps.valid.sum() == len(recorded) and steps.reward.shape == (800, 4)
    cue = recorded.slots.columns["observation/observation"].reshape(800, 4)[:, 0]
    for k in (0, 1):
        exact = np.array(EXACT[k])[cue]
        assert np.abs(steps.v[0, k, :, 0] - exact).max() < 0.08
        action = recorded.slots.columns["action"].reshape(800, 4)[:, :3]
        assert (steps.policy[k, :, :3] == (action == k)).all()
    assert (steps.v[:, :, :, 3] == 0.0).all(), "nothing follows an end"
    # the recorded player takes the better action a quarter of the time; the data do not say so, so it was learned
    junction = steps.behaviour[:, 2]
    good = action[:, 2] == cue
    assert junction[good].mean() == pytest.approx(0.25, abs=0.08)
    assert junction[~good].mean() == pytest.approx(0.75, abs=0.08)


def test_the_fit_ends_before_it_memorises_single_sessions() -> None:
    few, many = (FQETrainer(small(600), poor_data(1, count), POLICIES) for count in (30, 800))  # type: ignore[arg-type]
    scores, kept = [], {}
    for record in offline.records(few):
        scores.append(record.validation)
        assert isinstance(record.validation, HeldOut)
        assert record.validation.imitation is not None
        if record.validation.imitation <= few.known_best + 0.05:
            kept = {name: value.clone() for name, value in few.learner.target.state_dict().items()}
    assert all(torch.equal(kept[name], value) for name, value in few.learner.target.state_dict().items())
    assert few.updates < 600 and isinstance(scores[-1], HeldOut) and scores[-1].imitation is not None
    assert scores[-1].imitation > few.known_best + 0.05
    for _ in offline.records(many):
        pass
    assert many.updates == 600


@pytest.fixture(scope="module")
def table() -> OffPolicyEvaluation:
    import seqel.ope.estimation as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "fitted_config", lambda discount, context, seed=0, **given: small(400, seed + 1))
        return estimate_policies(POLICIES, poor_data(1, 2_000), discount=GAMMA)


def test_the_table_holds_the_true_values(table: OffPolicyEvaluation) -> None:
    for k, row in enumerate(table.policies):
        exact = float(np.mean(EXACT[k]))
        assert row.value.low - 0.02 <= exact <= row.value.high + 0.02, "the cue is uniform, the sample nearly so"
        assert row.value.high - row.value.low < 0.5, "returns are between -0.5 and 2"
        assert row.supported, row.warnings
    assert table.sessions == 2_000 and table.transitions == 6_000 and not table.known_probabilities


def test_shuffled_rewards_support_no_improvement() -> None:
    rng = np.random.default_rng(5)
    histories = cue_episodes()
    rewards = rng.normal(size=(600, 3)).astype(np.float32)
    episodes = [replace(histories[i], reward=rewards[n]) for n, i in enumerate(rng.integers(16, size=600))]
    data = InMemoryDataset.of(episodes, SPEC, ActionSpec((2,), (0,)))
    session = FQETrainer(small(200), data, EVERY)  # type: ignore[arg-type]
    for _ in offline.records(session):
        pass
    found = tabulate(session.steps_of(data.buffer), ["a", "b"], GAMMA, None, False)
    assert "No improvement supported" in found.verdict
    assert not any(row.improves for row in found.policies)


def test_there_is_a_warning_about_a_policy_outside_the_data() -> None:
    always = [episode for episode in cue_episodes() if episode.action[0, 0] == 0 and episode.action[1, 0] == 0]
    data = InMemoryDataset.of(always * 60, SPEC, ActionSpec((2,), (0,)))
    session = FQETrainer(small(200), data, EVERY)  # type: ignore[arg-type]
    for _ in offline.records(session):
        pass
    found = tabulate(session.steps_of(data.buffer), ["seen", "never seen"], GAMMA, None, False)
    assert found.policies[0].supported
    assert not found.policies[1].supported
    assert any("very few recorded sessions" in text for text in found.policies[1].warnings)
    assert any("rare in the data" in text for text in found.policies[1].warnings)


def test_there_is_a_warning_about_too_few_sessions() -> None:
    data = poor_data(1, 12)
    session = FQETrainer(small(40), data, EVERY)  # type: ignore[arg-type]
    for _ in offline.records(session):
        pass
    found = tabulate(session.steps_of(data.buffer), ["a", "b"], GAMMA, None, False)
    assert all("12 sessions are too few" in row.warnings[0] for row in found.policies)


def test_the_fit_has_a_longer_context_than_a_forgetful_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    import seqel.ope.estimation as module

    asked: list[int] = []

    def config(discount: float, context: int, seed: int = 0, **given: int) -> object:
        asked.append(context)
        return small(5, seed)

    monkeypatch.setattr(module, "fitted_config", config)
    estimate_policies(POLICIES, poor_data(1, 40), discount=GAMMA, context=1)
    assert asked == [4] * 4


def test_the_fit_for_an_agent_that_ranks_items_shares_their_vectors() -> None:
    from seqel.ranking.data import item_encoding
    from seqel.types import Episode
    from support_ranking import make_agent

    rng, encoding = np.random.default_rng(0), item_encoding(range(12))
    seen = {encoding.observation.leaves[0].path: np.zeros((6, 1), np.uint8)}
    episodes = [
        Episode(seen, rng.integers(12, size=(5, 1)), rng.random(5).astype(np.float32), terminated=True)
        for _ in range(30)
    ]
    fits: list[FQETrainer] = []
    data = InMemoryDataset.of(episodes, encoding.observation, encoding.action)
    agent = make_agent(12, policy_head="greedy")
    estimate_policies([AgentPolicy(agent)], data, discount=0.9, updates=3, on_fit=fits.append)
    assert {fit.agent.network.config.actions for fit in fits} == {"items"}


def test_an_empty_list_of_policies_is_refused() -> None:
    with pytest.raises(DataError, match="at least one policy"):
        estimate_policies([], poor_data(0, 10), discount=GAMMA)
