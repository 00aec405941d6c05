"""Detectors of unfamiliar states: distances worked by hand, thresholds, the file, and the states that they read."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from seqel.agents.agent import Agent
from seqel.errors import CheckpointError, ConfigError, DataError, SpaceError
from seqel.explanation.trace import record_episode, window_of
from seqel.replay.in_memory_dataset import InMemoryDataset
from seqel.robustness.attacks import AttackedAgent
from seqel.robustness.detectors import Knn, Mahalanobis, auroc, max_softmax, threshold_at
from seqel.robustness.reference import StateReference
from seqel.robustness.states import PlayedStates, captured_states, play_states, read_states
from seqel.spaces import ActionSpec
from seqel.types import Episode
from support import Walk, network


def test_the_auroc_counts_pairs_and_ties_half() -> None:
    """Of 2 x 2 pairs: 2 > 1, 2 = 2, 3 > 1, 3 > 2: (1 + 0.5 + 1 + 1) / 4."""
    assert auroc([1, 2], [2, 3]) == 0.875
    assert auroc([0, 1], [2, 3]) == 1.0 and auroc([2, 3], [0, 1]) == 0.0 and auroc([1, 1], [1]) == 0.5
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 20, 40), rng.integers(5, 25, 30)
    pairs = (other[:, None] > one).mean() + 0.5 * (other[:, None] == one).mean()
    assert auroc(one, other) == pytest.approx(pairs)
    with pytest.raises(DataError, match="finite"):
        auroc([1.0], [math.nan])


def test_the_mahalanobis_distance_by_hand() -> None:
    """Of (-2, 0), (2, 0), (0, -1), (0, 1): mean 0 and variances 2 and 1/2. The distance of (2, 1) is 4/2 + 1/(1/2) = 4."""
    found = Mahalanobis.fit([[-2, 0], [2, 0], [0, -1], [0, 1]], ridge=0.0).score([[2, 1], [0, 0]])
    np.testing.assert_allclose(found, [4.0, 0.0], atol=1e-9)


def test_the_nearest_class_counts_and_the_covariance_is_that_within_classes() -> None:
    """Two classes around (0, 0) and (10, 0), each with variance 1 in both directions; their distance is not spread."""
    states = [[-1, -1], [1, 1], [-1, 1], [1, -1]]
    both = np.array(states + [[x + 10, y] for x, y in states], float)
    found = Mahalanobis.fit(both, [0] * 4 + [1] * 4, ridge=0.0).score([[0, 0], [10, 0], [5, 0], [10, 3]])
    np.testing.assert_allclose(found, [0, 0, 25, 9], atol=1e-9)
    assert Mahalanobis.fit(both, ridge=0.0).score([[5, 0]])[0] < 1.0, "in one class, the middle looks familiar"


def test_a_class_of_one_state_and_dimensions_that_do_not_vary_are_no_problem() -> None:
    states = np.zeros((5, 3))
    states[:, 0] = np.arange(5)
    found = Mahalanobis.fit(states, [0, 0, 0, 0, 7]).score(states + np.array([0, 1, 0]))
    assert np.isfinite(found).all() and (found > 100).all(), (
        "a direction without variance is where nothing familiar lies"
    )
    assert np.isfinite(Mahalanobis.fit(np.ones((4, 2)), [0, 1, 2, 3]).score(np.ones((1, 2)))).all()


def test_the_distance_to_the_kth_neighbour_by_hand() -> None:
    """Scaled to length 1: (1, 0), (0, 1), (-1, 0). From (5, 0): 0, sqrt 2 and 2."""
    bank = [[3, 0], [0, 2], [-1, 0]]
    for k, wanted in ((1, 0.0), (2, math.sqrt(2)), (3, 2.0)):
        assert Knn.fit(bank, k).score([[5, 0]])[0] == pytest.approx(wanted, abs=1e-4)
    assert len(Knn.fit(np.eye(9), 2, most=4).bank) == 4
    with pytest.raises(DataError, match="at least 4"):
        Knn.fit(bank, 4)


def test_the_softmax_score_by_hand() -> None:
    """Scores 0 and log 3: the largest probability is 3/4. Masked actions count nothing."""
    assert max_softmax([[0.0, math.log(3.0)]])[0] == pytest.approx(0.25)
    assert max_softmax([[0.0, math.log(3.0), -math.inf]])[0] == pytest.approx(0.25)
    assert max_softmax([[[0.0, 0.0], [0.0, math.log(3.0)]]])[0] == pytest.approx((0.5 + 0.25) / 2)


def test_the_threshold_keeps_the_share_of_false_alarms() -> None:
    """Of 9 scores, one in ten may be above: the 9th; one in twenty needs more scores."""
    assert threshold_at(np.arange(1, 10), 0.1) == 9.0 and threshold_at(np.arange(1, 10), 0.5) == 5.0
    assert threshold_at(np.arange(1, 10), 0.05) == math.inf
    rng = np.random.default_rng(0)
    above = [(rng.normal(size=2_000) > threshold_at(rng.normal(size=500), 0.05)).mean() for _ in range(200)]
    assert np.mean(above) == pytest.approx(0.05, abs=0.005)


def played(seed: int = 0, shift: float = 0.0, count: int = 400) -> PlayedStates:
    rng = np.random.default_rng(seed)
    states = rng.normal(size=(count, 6)).astype(np.float32) + 3 + shift
    episode = np.repeat(np.arange(count // 10), 10)
    scores = rng.normal(size=(count, 3)).astype(np.float32)
    return PlayedStates(states, scores, rng.integers(0, 3, count), episode, np.zeros(count // 10))


def test_a_reference_reports_shifted_states_and_few_others() -> None:
    reference = StateReference.fit(played(), "0" * 8, false_alarms=0.05)
    for detector in ("mahalanobis", "knn"):
        assert reference.unfamiliar(played(1).states, detector).mean() < 0.12
    assert reference.unfamiliar(played(2, shift=6.0).states).mean() > 0.99
    assert set(reference.scores(played(1).states, played(1).scores)) == {"mahalanobis", "knn", "softmax"}


def test_the_thresholds_are_set_on_episodes_that_were_not_fitted() -> None:
    """A detector knows the states of its bank: on them, the nearest neighbour is the state itself."""
    reference = StateReference.fit(played(), "0" * 8, false_alarms=0.1, k=1)
    own = reference.knn.score(reference.knn.bank)
    assert np.quantile(own, 0.9) < 1e-3 < reference.thresholds["knn"]


def test_the_file_gives_the_same_scores_and_damage_is_noticed(tmp_path: Path) -> None:
    reference = StateReference.fit(played(), "12345678", made={"env": "E-v0"})
    path = reference.save(tmp_path / "states.safetensors")
    again = StateReference.load(path)
    assert again.thresholds == reference.thresholds and again.made == {"env": "E-v0"} and again.weights == "12345678"
    new = played(1)
    for name, scores in reference.scores(new.states, new.scores).items():
        np.testing.assert_array_equal(again.scores(new.states, new.scores)[name], scores)
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match="damaged"):
        StateReference.load(path)
    path.write_bytes(b"not this")
    with pytest.raises(CheckpointError):
        StateReference.load(path)
    with pytest.raises(CheckpointError, match="--states"):
        StateReference.load(tmp_path / "none")


def test_wrong_input_is_refused() -> None:
    reference = StateReference.fit(played(), "0" * 8)
    with pytest.raises(DataError, match="rows, 6"):
        reference.unfamiliar(np.zeros((2, 5)))
    with pytest.raises(ConfigError, match="detector"):
        reference.unfamiliar(np.zeros((2, 6)), "softmax")
    with pytest.raises(ConfigError, match="false_alarms"):
        StateReference.fit(played(), "0" * 8, false_alarms=0.0)
    with pytest.raises(DataError, match="2 episodes"):
        StateReference.fit(played(count=10), "0" * 8)


def test_recorded_episodes_are_read_with_their_own_actions() -> None:
    """The agent reads episodes that it played itself and one of other actions: the states of a forward pass over each."""
    agent = Agent(network())
    traces = [record_episode(agent, Walk, seed=seed) for seed in (1, 3)]
    other = dataclasses.replace(traces[0], action=2 - traces[0].action)
    recorded = [Episode(one.observation, one.action[:, None], one.reward, truncated=True) for one in (*traces, other)]
    data = InMemoryDataset.of(recorded, agent.observation_spec, agent.action_spec)
    found = read_states(agent, data.buffer, (data.observation, data.action), 3)
    assert np.bincount(found.episode).tolist() == sorted(map(len, recorded), reverse=True)
    wanted = []
    for one in (*traces, other):
        batch = window_of(agent, one)
        with torch.no_grad():
            h = agent.network.trunk(agent.network.embed(batch), batch.is_first, batch.start_step)[0, :-1].numpy()
        wanted.append((h, float(one.reward.sum())))
    for episode in range(3):
        states = found.states[found.episode == episode]
        close = [h for h, earned in wanted if h.shape == states.shape and np.allclose(h, states, atol=1e-5)
                 and earned == pytest.approx(found.returns[episode])]  # fmt: skip
        assert len(close) == 1
    with pytest.raises(SpaceError):
        read_states(agent, data.buffer, (data.observation, ActionSpec((9,), (0,))), 3)


def test_an_attack_changes_the_states() -> None:
    agent = Agent(network())
    plain = play_states(agent, Walk, 2, seed=1)
    attacked = play_states(agent, Walk, 2, seed=1, attacked=AttackedAgent(agent, 0.5))
    assert plain.states.shape == attacked.states.shape and np.abs(plain.states - attacked.states).max() > 0.1
    unmoved = play_states(agent, Walk, 2, seed=1, attacked=AttackedAgent(agent, 0.0))
    np.testing.assert_array_equal(unmoved.states, plain.states)


def test_the_states_are_those_that_the_heads_read() -> None:
    agent = Agent(network())
    found = play_states(agent, Walk, 3, seed=7, environments=2)
    trace = record_episode(agent, Walk, seed=8)
    own = found.episode == 1
    batch = window_of(agent, trace)
    with torch.no_grad():
        h = agent.network.trunk(agent.network.embed(batch), batch.is_first, batch.start_step)[0, :-1].numpy()
    np.testing.assert_allclose(found.states[own], h, atol=1e-5)
    assert found.action[own].tolist() == trace.action.tolist()
    np.testing.assert_allclose(found.scores[own], trace.q / float(agent.network.head.scale), atol=1e-5)
    with captured_states(agent.network) as kept:
        pass
    agent.act(np.zeros((1, 3), np.float32))
    assert kept == [], "nothing is captured afterwards"
