"""Several actions at once, from an environment to a served decision: masks by dimension are obeyed wherever one acts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import seqel
from seqel.action_masks import read_action_mask
from seqel.agents.agent import Agent
from seqel.deployment.export import export
from seqel.deployment.runtime import ExportedAgent
from seqel.environments import contract
from seqel.environments.contract import make_checked
from seqel.environments.probe import probe
from seqel.environments.vector import VectorStream
from seqel.errors import ConfigError, EnvironmentFault, SpaceError
from seqel.evaluation.rollout import play
from seqel.explanation.attention import attention
from seqel.explanation.counterfactual import counterfactual
from seqel.explanation.occlusion import occlusion
from seqel.explanation.trace import decision_scores, record_episode
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.training.config import preset
from seqel.training.online.loop import records
from seqel.training.online.trainer import OnlineTrainer
from support import SPACE, Dials, network

SPEC = ActionSpec((3, 2), (0, 5))
FORMS = ["tuple", "padded", "end to end", "observation"]
SETTINGS: dict[str, Any] = {
    "steps": 400, "environments": 4, "threads": 1, "device": "cpu", "log_every": 100, "network.width": 16,
    "network.layers": 1, "network.heads": 2, "network.context": 4, "replay.learning_starts": 60,
    "replay.batch_tokens": 64, "replay.replay_ratio": 1.0, "validation.every": 200, "validation.episodes": 4,
}  # fmt: skip


def trained(make: Any, **settings: Any) -> OnlineTrainer:
    """A run of seconds. Dials raises where an action is not allowed."""
    trainer = OnlineTrainer(preset("default", env="dials", **{**SETTINGS, **settings}), make)
    trainer.begin()
    list(records(trainer))
    trainer.close()
    return trainer


RULES: list[dict[str, Any]] = [
    {"exploration.bonus": 0.1, "exploration.duration_exponent": 2.0},
    {"exploration.rule": "epsilon", "exploration.low": 0.3, "exploration.high": 0.9},
    {"exploration.rule": "greedy", "exploration.bonus": 0.1},
    {"network.value": "quantile", "network.bins": 5, "objective.lambda_": 0.0},
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_masks_are_obeyed_while_exploring_and_validating(rule: dict[str, Any]) -> None:
    trainer = trained(Dials, **rule)
    assert trainer.learner.updates > 5 and trainer.best is not None
    columns = trainer.replay.state_dict()
    assert columns is not None


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_mask_is_the_same_run(form: str) -> None:
    one, other = (trained(lambda kind=kind: Dials(kind)) for kind in ("tuple", form))
    assert one.best == other.best
    np.testing.assert_array_equal(one.collector.staging.action, other.collector.staging.action)
    np.testing.assert_array_equal(one.collector.staging.mask, other.collector.staging.mask)


def test_the_mask_of_one_dimension_at_another_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = read_action_mask

    def swapped(mask: Any, action: ActionSpec, rows: int | None = None) -> Any:
        return right(mask, action, rows)[::-1] & action.available

    monkeypatch.setattr(contract, "read_action_mask", swapped)
    with pytest.raises(EnvironmentFault, match=r"forbidden|allows no action in dimension"):
        trained(Dials)


def test_actions_of_unequal_size_never_leave_their_dimension() -> None:
    for rule in RULES:
        trained(lambda: Dials("none"), **rule)


@pytest.mark.parametrize("form", FORMS)
def test_the_probe_plays_what_is_allowed(form: str) -> None:
    found = probe(lambda: Dials(form), steps=300)
    assert found.action == SPEC and found.masked and not found.warnings
    assert found.mask_in_observation == (form == "observation")
    assert [leaf.path for leaf in found.observation.leaves] == ["seen" if form == "observation" else "observation"]


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        ((np.ones(3), np.zeros(2)), "allows no action in dimension 1 before step 1"),
        ((np.ones(2), np.ones(3)), "dimension 0: .*expected 3 yes/no"),
        (np.ones((2, 3)), "expected False beyond the 2 actions of dimension 1"),
        ([0, 1], "expected 5 yes/no values"),
    ],
    ids=str,
)
def test_invalid_masks_are_refused_like_masks_of_a_single_action(mask: Any, says: str) -> None:
    env = Dials()
    env._see = lambda: (np.zeros(3, np.float32), {"action_mask": mask})  # type: ignore[method-assign]
    with pytest.raises(EnvironmentFault, match=says):
        make_checked(lambda: env).reset(seed=0)


def test_an_end_that_allows_nothing_in_a_dimension_allows_all_of_it() -> None:
    env = make_checked(lambda: Dials("tuple"))
    env.reset(seed=0)
    inner = env.unwrapped
    assert isinstance(inner, Dials)
    inner.time, inner.masks = 8, [np.ones(3, bool), np.ones(2, bool)]
    inner._see = lambda: (np.zeros(3, np.float32), {"action_mask": ([0, 1, 0], [0, 0])})  # type: ignore[method-assign]
    mask = env.step(np.array([0, 5]))[4]["action_mask"]
    assert mask.tolist() == [[False, True, False], [True, True, False]]


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_masks_follow_every_autoreset_mode(mode: AutoresetMode) -> None:
    envs = SyncVectorEnv([lambda: make_checked(Dials)] * 3, autoreset_mode=mode)
    stream = VectorStream(envs, ObservationSpec.from_space(SPACE), SPEC)
    stream.reset([1, 2, 3])
    rng = np.random.default_rng(0)
    for _ in range(60):
        assert stream.mask is not None and stream.mask.shape == (3, 2, 3)
        outcome = stream.step(np.argmax(np.where(stream.mask, rng.random(stream.mask.shape), -1.0), axis=-1))
        assert outcome.mask is not None and outcome.mask.any(axis=-1).all()
        assert not outcome.mask[:, 1, 2].any()
    stream.close()


@pytest.mark.parametrize("settings", [{"dueling": True}, {"value": "quantile", "bins": 5}], ids=str)
def test_exported_equals_native_under_masks(settings: dict[str, Any], tmp_path: Path) -> None:
    agent = Agent(network(SPEC, **settings))
    exported = ExportedAgent(export(agent, tmp_path / "agent.onnx"))
    rng = np.random.default_rng(0)
    one = other = None
    for step in range(30):
        seen, mask = rng.standard_normal((20, 3)).astype(np.float32), rng.random((20, 2, 3)) < 0.5
        mask[..., 0] |= ~mask[..., :2].any(axis=-1)
        mask[:, 1, 2] = False
        given = None if step % 3 == 0 else (mask if step % 3 == 1 else (mask[:, 0], mask[:, 1, :2]))
        decided, one = agent.act(seen, one, mask=given, reward=0.5)
        again, other = exported.act(seen, other, mask=given, reward=0.5)
        assert decided.action.shape == (20, 2) and decided.q.shape == (20, 2, 3)
        np.testing.assert_array_equal(again.action, decided.action)
        np.testing.assert_allclose(again.q, decided.q, rtol=1e-4, atol=1e-4)
        codes = (decided.action - [0, 5]).astype(np.int64)
        allowed = np.broadcast_to(SPEC.available, mask.shape) if given is None else mask
        assert np.take_along_axis(allowed, codes[..., None], axis=-1).all()
        assert not np.isfinite(decided.q[~allowed]).any()


def test_the_previous_action_is_given_by_dimension() -> None:
    agent = Agent(network(SPEC))
    seen = np.ones((2, 3), np.float32)
    _, state = agent.act(seen)
    with pytest.raises(SpaceError, match="previous_action: expected actions of the action space"):
        agent.act(seen, state, previous_action=[[0, 4], [2, 6]])
    one = agent.act(seen, agent.act(seen)[1], previous_action=[[0, 5], [2, 6]])[0].q
    other = agent.act(seen, agent.act(seen)[1], previous_action=[[0, 6], [2, 6]])[0].q
    assert not np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])


def test_predict_gives_one_action_by_dimension() -> None:
    agent = Agent(network(SPEC))
    action, _ = agent.predict(np.ones(3, np.float32), action_masks=([0, 0, 1], [1, 0]))
    assert action.tolist() == [2, 5]
    flat = np.array([[0, 1, 0, 0, 1]])  # as sb3-contrib gives it, with a batch axis
    assert agent.predict(np.ones(3, np.float32), action_masks=flat)[0].tolist() == [1, 6]
    assert agent.predict(np.ones((1, 3), np.float32), action_masks=flat)[0].tolist() == [[1, 6]]
    assert "3 x 2 actions" in repr(agent)


def test_candidates_are_for_one_dimension() -> None:
    with pytest.raises(ConfigError, match="candidates: expected one action dimension, this agent has 2"):
        Agent(network(SPEC)).act(np.ones((1, 3), np.float32), candidates=[[0, 1]])


@pytest.mark.parametrize("value", ["hl-gauss", "c51"])
def test_values_that_do_not_decompose_name_those_that_do(value: str) -> None:
    with pytest.raises(ConfigError, match=r"set network\.value = .scalar., or .quantile."):
        network(SPEC, value=value)


def test_a_saved_agent_plays_and_is_explained(tmp_path: Path) -> None:
    agent = trained(Dials).agent
    agent = Agent.load(agent.save(tmp_path / "agent"))
    assert agent.action_spec == SPEC
    result = play(agent, Dials, 6, 0, 3)
    assert len(result.returns) == 6
    assert result.returns == seqel.evaluate(agent, Dials, 6, seed=0).returns
    episode = record_episode(agent, Dials)
    assert episode.action.shape == (9, 2) and episode.q.shape == (9, 2, 3)
    found = decision_scores(agent, episode)
    assert found.shape == (10, 2, 3) and not np.isfinite(found[:, 1, 2]).any()
    acted = np.isfinite(episode.q)
    np.testing.assert_allclose(found[:-1][acted], episode.q[acted], rtol=1e-3, atol=1e-4)
    influence = occlusion(agent, episode, 5)
    assert influence.shape == (5,) and np.isfinite(influence).all() and influence.max() > 0
    assert attention(agent, episode).shape[-2:] == (10, 10)
    other = counterfactual(agent, episode, 3, "observation", np.full(3, 9.0, np.float32))
    assert np.array_equal(other[:3], found[:3]) and not np.array_equal(other[3], found[3])


class Unequal(gym.Env[np.ndarray, np.ndarray]):
    """The reward names the action: 10 times the first, plus the second."""

    observation_space, action_space = SPACE, gym.spaces.MultiDiscrete([2, 4], start=[1, -3])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.time = 0
        return np.zeros(3, np.float32), {}

    def step(self, action: np.ndarray) -> Any:
        self.time += 1
        seen = np.array([self.time, *action], np.float32)
        return seen, 10.0 * action[0] + action[1], self.time == 5, False, {}


def test_what_is_stored_is_what_was_done() -> None:
    trainer = trained(Unequal, **{"exploration.high": 5.0, "exploration.low": 5.0})
    batch = trainer.replay.sample(64, window=5, context=4, discount=0.9, rng=np.random.default_rng(0))
    real = batch.valid
    done = batch.action[real]
    assert set(done[:, 0].tolist()) == {0, 1} and set(done[:, 1].tolist()) == {0, 1, 2, 3}
    assert (batch.reward[real] == 10.0 * (done[:, 0] + 1) + done[:, 1] - 3).all()
    after = batch.observation["observation"][:, 1:][real]
    assert (after[:, 1] == done[:, 0] + 1).all() and (after[:, 2] == done[:, 1] - 3).all()


def test_workers_are_given_actions_by_dimension() -> None:
    one, other = (trained(Dials, vectorization=mode, environments=2) for mode in ("sync", "async"))
    np.testing.assert_array_equal(one.collector.staging.action, other.collector.staging.action)
