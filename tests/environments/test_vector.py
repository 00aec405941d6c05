"""Vector environments of every autoreset mode give the same masks, final observations, successes and faults."""

from __future__ import annotations

import functools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TimeLimit

from seqel.environments.vector import VectorStream, make_vector, success_of
from seqel.errors import ConfigError, EnvironmentFault, SpaceError
from seqel.spaces import ActionSpec, ObservationSpec
from support import SPACE, Scripted

MODES = [AutoresetMode.DISABLED, AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP]
COUNT = 3


class Masked(Scripted):
    """Step t of episode e allows the actions t and e + t (modulo 3), and nothing at the end, as in some environments."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        observation, _ = super().reset(seed=seed, options=options)
        return observation, {"action_mask": self.allowed()}

    def allowed(self, over: bool = False) -> np.ndarray:
        mask = np.zeros(3, np.int8)
        if not over:
            mask[[self.time % 3, (self.episode + self.time) % 3]] = 1
        return mask

    def step(self, action: int) -> Any:
        assert self.allowed()[action], "an action that was not allowed"
        observation, reward, terminated, truncated, info = super().step(action)
        over = terminated or truncated
        if over:
            info["is_success"] = self.episode % 2 == 0
        return observation, reward, terminated, truncated, info | {"action_mask": self.allowed(over=over)}


class HalfMasked(Masked):
    """Reports a mask at an episode's first step only; afterwards every action is allowed."""

    def allowed(self, over: bool = False) -> np.ndarray:
        return np.array([0, 1, 0]) if self.time == 0 else np.ones(3)

    def step(self, action: int) -> Any:
        *rest, info = super().step(action)
        return *rest, {name: value for name, value in info.items() if name != "action_mask"}


def open_stream(make: Any = Scripted, mode: AutoresetMode = AutoresetMode.DISABLED, count: int = COUNT) -> VectorStream:
    envs = SyncVectorEnv([functools.partial(make, n) for n in range(count)], autoreset_mode=mode)
    spec = ObservationSpec.from_space(envs.single_observation_space)
    stream = VectorStream(envs, spec, ActionSpec.from_space(envs.single_action_space))
    stream.reset([None] * count)
    return stream


def transitions(make: Any, mode: AutoresetMode, episodes: int) -> dict[tuple[int, int], list[Any]]:
    """(environment, episode) -> its steps: observation, mask, action, reward, next observation and its mask."""
    stream = open_stream(make, mode)
    found: dict[tuple[int, int], list[Any]] = {}
    for _ in range(8 * episodes):
        seen = stream.current["observation"]
        mask = np.ones((COUNT, 3), bool) if stream.mask is None else stream.mask
        assert mask.any(axis=1).all(), "there is always an allowed action"
        action = np.where(mask, [[1, 2, 3]], 0).argmax(axis=1)
        outcome = stream.step(action)
        allowed = np.ones((COUNT, 3), bool) if outcome.mask is None else outcome.mask
        for row in np.flatnonzero(outcome.stepped):
            found.setdefault((int(seen[row, 0]), int(seen[row, 1])), []).append(
                (
                    *(seen[row, 2], mask[row].tolist(), int(action[row]), outcome.reward[row]),
                    *(outcome.reached["observation"][row].tolist(), allowed[row].tolist()),
                    *(bool(outcome.terminated[row]), bool(outcome.truncated[row])),
                    success_of(outcome.info, int(row)) if outcome.ended[row] else None,
                )
            )
        if mode == AutoresetMode.DISABLED and outcome.ended.any():
            stream.reset([None] * COUNT, outcome.ended)
    return {key: steps for key, steps in found.items() if key[1] < episodes}


@pytest.mark.parametrize("make", [Scripted, Masked, HalfMasked])
def test_rule_5_every_mode_gives_the_same_transitions_masks_and_successes(make: Any) -> None:
    plain, same, following = (transitions(make, mode, 9) for mode in MODES)
    assert set(plain) == {(row, episode) for row in range(COUNT) for episode in range(9)}
    assert same == plain
    assert following == plain
    for (row, episode), steps in plain.items():
        assert [step[0] for step in steps] == list(range(3 + episode % 4))
        assert [step[4] for step in steps] == [[row, episode, t + 1] for t in range(len(steps))], "the true final one"
        if make is Masked:
            assert steps[-1][5] == [True] * 3, "a mask that allows nothing would make the maximum undefined"
            assert steps[-1][-1] == (episode % 2 == 0)


@pytest.mark.parametrize("mode", MODES)
def test_rows_that_report_no_mask_may_do_anything(mode: AutoresetMode) -> None:
    """Gymnasium fills the mask of a row that reports none with zeros, and says so in `_action_mask`."""
    envs = SyncVectorEnv(
        [functools.partial(Masked if n == 1 else Scripted, n) for n in range(COUNT)], autoreset_mode=mode
    )
    spec = ObservationSpec.from_space(envs.single_observation_space)
    stream = VectorStream(envs, spec, ActionSpec.from_space(envs.single_action_space))
    stream.reset([None] * COUNT)
    for _ in range(3):
        assert stream.mask is not None
        assert stream.mask[[0, 2]].all()
        stream.step(stream.mask.argmax(axis=1))


def test_a_mask_that_is_no_longer_reported_no_longer_applies() -> None:
    stream = open_stream(HalfMasked)
    assert stream.mask is not None and stream.mask.sum() == COUNT
    stream.step(np.ones(COUNT, np.int64))
    assert stream.mask.all()
    stream.reset([None] * COUNT, np.array([False, True, False]))
    assert stream.mask.sum(axis=1).tolist() == [3, 1, 3], "the others keep what they had"


def test_rule_4_a_time_limit_cuts_and_shows_where_it_cut() -> None:
    class Line(Scripted):
        def step(self, action: int) -> Any:
            self.time += 1
            return self._see(), 1.0, self.time == 6, False, {}

    for mode in MODES:
        for limit, last, terminated in ((4, 4, False), (6, 6, True), (9, 6, True)):
            stream = open_stream(lambda n, limit=limit: TimeLimit(Line(n), limit), mode)
            for _ in range(last):
                outcome = stream.step(np.zeros(COUNT, np.int64))
            assert outcome.ended.all()
            assert (outcome.reached["observation"][:, 2] == last).all()
            assert outcome.terminated.all() == terminated and outcome.truncated.all() == (limit <= last)


@pytest.mark.parametrize("mode", MODES)
def test_first_marks_the_steps_that_begin_an_episode(mode: AutoresetMode) -> None:
    stream = open_stream(Scripted, mode)
    for _ in range(30):
        assert (stream.first == (stream.current["observation"][:, 2] == 0)).all()
        outcome = stream.step(np.zeros(COUNT, np.int64))
        if mode == AutoresetMode.DISABLED and outcome.ended.any():
            stream.reset([None] * COUNT, outcome.ended)


def test_returned_arrays_do_not_change_later() -> None:
    stream = open_stream()
    seen = stream.current["observation"]
    kept = seen.copy()
    outcome = stream.step(np.zeros(COUNT, np.int64))
    reached, copied = outcome.reached["observation"], outcome.reached["observation"].copy()
    stream.reset([None] * COUNT, np.array([True, False, False]))
    stream.step(np.zeros(COUNT, np.int64))
    np.testing.assert_array_equal(seen, kept)
    np.testing.assert_array_equal(reached, copied)


def test_actions_that_start_elsewhere_are_moved_there() -> None:
    class Shifted(Scripted):
        action_space = gym.spaces.Discrete(3, start=5)

        def step(self, action: int) -> Any:
            assert self.action_space.contains(action)
            return super().step(action)

    outcome = open_stream(Shifted).step(np.array([0, 1, 2]))
    assert outcome.reward.tolist() == [5.0, 6.0, 7.0]


@pytest.mark.parametrize("reward", [np.nan, np.inf, -np.inf])
def test_a_reward_that_is_not_finite_is_reported_with_its_environment_and_action(reward: float) -> None:
    class Bad(Scripted):
        def step(self, action: int) -> Any:
            observation, good, *rest = super().step(action)
            return observation, (reward if self.number == 1 else good), *rest

    with pytest.raises(EnvironmentFault, match=rf"environment 1 returned the reward {reward} for action 2"):
        open_stream(Bad).step(np.array([0, 2, 1]))


def test_faults_of_reset_and_step_are_reported_as_such_and_seqel_errors_pass() -> None:
    class Burnt(Scripted):
        def step(self, action: int) -> Any:
            if action == 2:
                raise ConfigError("said by the environment itself")
            raise ZeroDivisionError("the motor burnt")

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            if self.episode == 0:
                raise KeyError("no second level")
            return super().reset(seed=seed, options=options)

    stream = open_stream(Burnt)
    with pytest.raises(EnvironmentFault, match="failed in step: ZeroDivisionError: the motor burnt"):
        stream.step(np.zeros(COUNT, np.int64))
    with pytest.raises(ConfigError, match="said by the environment itself"):
        stream.step(np.full(COUNT, 2))
    with pytest.raises(EnvironmentFault, match="failed in reset: KeyError"):
        stream.reset([None] * COUNT, np.ones(COUNT, bool))


@pytest.mark.parametrize(
    ("space", "value"),
    [
        (gym.spaces.Discrete(4), 4),
        (gym.spaces.Box(0, 5, (3, 3), np.uint8), np.full((3, 3), 6, np.uint8)),
        (gym.spaces.MultiDiscrete([2, 3]), np.array([0, 3])),
    ],
    ids=["discrete", "grid", "multidiscrete"],
)
def test_a_code_outside_its_space_is_refused(space: gym.Space[Any], value: Any) -> None:
    class Outside(Scripted):
        observation_space = space  # type: ignore[assignment]

        def _see(self) -> Any:
            return value if self.time else np.zeros_like(value)

    stream = open_stream(Outside)
    with pytest.raises(SpaceError, match=r"outside its space|expected codes below"):
        stream.step(np.zeros(COUNT, np.int64))


def test_an_observation_of_another_shape_is_refused() -> None:
    class Wide(Scripted):
        def _see(self) -> np.ndarray:
            return np.zeros(3 + self.time, np.float32)

    with pytest.raises((EnvironmentFault, SpaceError)):
        open_stream(Wide).step(np.zeros(COUNT, np.int64))


def test_one_process_and_many_processes_give_the_same() -> None:
    found = []
    for mode in ("sync", "async"):
        envs = make_vector(lambda: Scripted(4), 2, mode)
        stream = VectorStream(envs, ObservationSpec.from_space(SPACE), ActionSpec((3,), (0,)))
        assert stream.seedable
        stream.reset([1, 2])
        rows = []
        for t in range(12):
            outcome = stream.step(np.array([t % 3, 1]))
            rows.append((outcome.reached["observation"].tolist(), outcome.reward.tolist(), outcome.ended.tolist()))
            if outcome.ended.any():
                stream.reset([7, 8], outcome.ended)
        stream.close()
        found.append(rows)
    assert found[0] == found[1]


class Speaking(gym.Env[Any, Any]):
    """Says how many steps were taken."""

    observation_space = gym.spaces.Dict({"parts": gym.spaces.Tuple((gym.spaces.Text(9), gym.spaces.Discrete(9)))})
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.time = 0
        return {"parts": ("start", 0)}, {}

    def step(self, action: int) -> Any:
        self.time += 1
        return {"parts": (f"step{self.time}", self.time)}, 0.0, False, False, {}


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_texts_of_every_step_come_from_other_processes_as_well(mode: Any) -> None:
    """Gymnasium reads texts from shared memory only once, so that all later ones would be the same."""
    envs = make_vector(Speaking, 2, mode)
    said = [envs.reset()[0], *(envs.step(np.zeros(2, np.int64))[0] for _ in range(2))]
    envs.close()
    assert [list(one["parts"][0]) for one in said] == [[text] * 2 for text in ("start", "step1", "step2")]


def test_an_environment_that_cannot_be_made_is_reported() -> None:
    def make() -> Any:
        raise RuntimeError("no licence")

    with pytest.raises(EnvironmentFault, match="cannot be created: RuntimeError: no licence"):
        make_vector(make, 2)
