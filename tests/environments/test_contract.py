"""What an environment may return, and the errors if it returns something else."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from seqel.environments.contract import CheckedEnv, SharedInstance, make_checked
from seqel.environments.probe import probe
from seqel.environments.vector import VectorStream, close_vector, make_vector, success_of
from seqel.errors import EnvironmentFault, SeqelError, SpaceError
from seqel.spaces import ActionSpec, ObservationSpec
from support import SPACE, Scripted

A = 4


def environment(**changes: Any) -> type[gym.Env[Any, Any]]:
    """Six steps, reward 1; what `reset` and `step` return can be changed by name."""

    class E(gym.Env[Any, Any]):
        observation_space: Any = spaces.Box(-1, 1, (2,), np.float32)
        action_space: Any = spaces.Discrete(A)

        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
            super().reset(seed=seed)
            self.time = 0
            return self.see(), self.tell({})

        def see(self) -> Any:
            return np.zeros(2, np.float32)

        def tell(self, info: dict[str, Any]) -> Any:
            if "mask" in changes:
                info["action_mask"] = changes["mask"]
            return changes.get("info", info)

        def step(self, action: Any) -> Any:
            self.time += 1
            info = {"is_success": changes["success"]} if "success" in changes else {}
            over = changes.get("terminated", self.time == 6)
            return self.see(), changes.get("reward", 1.0), over, changes.get("truncated", False), self.tell(info)

    return E


# -- masks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mask",
    [
        [0, 3],
        np.array([0.0, -np.inf, 0.0, 0.0]),
        ["a", "b", "c", "d"],
        "111",
        "1111",
        np.array([1.0, np.nan, 0.0, 1.0]),
        np.ones((A, 1), np.int8),
        np.ones((1, A), np.int8),
        np.ones(A - 1, bool),
        np.array([0, 1, 2, 3]),
        [[True], [True, False], [], []],
        {0, 3},
        1,
    ],
    ids=str,
)
def test_an_invalid_mask_is_refused_in_the_probe(mask: Any) -> None:
    with pytest.raises(EnvironmentFault, match=r"action_mask: expected 4 yes/no values"):
        probe(environment(mask=mask))


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, np.uint8, np.float32])
def test_a_mask_of_zeros_and_ones_is_accepted(dtype: Any) -> None:
    found = make_checked(environment(mask=np.array([1, 0, 0, 1], dtype))).reset(seed=0)[1]
    assert found["action_mask"].dtype == bool and found["action_mask"].tolist() == [True, False, False, True]
    assert make_checked(environment(mask=[True, False, True, True])).reset()[1]["action_mask"].sum() == 3


def test_no_mask_at_a_step_means_that_all_actions_are_allowed() -> None:
    class Sometimes(environment()):  # type: ignore[misc]
        def tell(self, info: dict[str, Any]) -> Any:
            return {"action_mask": np.array([0, 1, 0, 0]) if self.time % 2 == 0 else None}

    assert probe(Sometimes).masked
    stream = VectorStream(make_vector(Sometimes, 2), ObservationSpec.from_space(Sometimes.observation_space), FOUR)
    stream.reset([1, 2])
    assert stream.mask is not None and stream.mask.sum(axis=1).tolist() == [1, 1]
    outcome = stream.step(np.array([1, 1]))
    assert outcome.mask is not None and outcome.mask.all()


def test_rows_that_report_no_mask_are_not_masked_by_the_others() -> None:
    class Every(environment()):  # type: ignore[misc]
        count = 0

        def __init__(self) -> None:
            Every.count += 1
            self.number = Every.count

        def tell(self, info: dict[str, Any]) -> Any:
            return {"action_mask": np.array([0, 1, 0, 0])} if self.number % 2 else {}

    stream = VectorStream(make_vector(Every, 2), ObservationSpec.from_space(Every.observation_space), FOUR)
    stream.reset([1, 2])
    assert stream.mask is not None and stream.mask.tolist() == [[False, True, False, False], [True] * 4]


def test_a_mask_that_allows_nothing_is_a_fault_unless_the_episode_is_over() -> None:
    with pytest.raises(EnvironmentFault, match="allows no action before step 1, but the episode has not ended"):
        probe(environment(mask=np.zeros(A, bool)))

    class AtTheEnd(environment()):  # type: ignore[misc]
        def tell(self, info: dict[str, Any]) -> Any:
            return {"action_mask": np.full(A, self.time < 6)}

    env = make_checked(AtTheEnd)
    env.reset()
    for _ in range(6):
        info = env.step(0)[-1]
    assert info["action_mask"].all()


class InObservation(environment()):  # type: ignore[misc]
    """As in PettingZoo and RLlib; step t only allows the action t % 4."""

    observation_space = spaces.Dict(
        {"observation": spaces.Box(-1, 1, (2,), np.float32), "action_mask": spaces.Box(0, 1, (A,), np.int8)}
    )

    def see(self) -> Any:
        return {"observation": np.zeros(2, np.float32), "action_mask": np.eye(A, dtype=np.int8)[self.time % A]}

    def step(self, action: Any) -> Any:
        assert action == self.time % A, "an action that is not allowed"
        return super().step(action)


def test_a_mask_in_the_observation_is_used_and_is_not_a_leaf() -> None:
    found = probe(InObservation)
    assert found.masked and found.mask_in_observation
    assert [leaf.path for leaf in found.observation.leaves] == ["observation"]
    for mode in ("sync", "async"):
        stream = VectorStream(make_vector(InObservation, 2, mode), found.observation, found.action)
        stream.reset([1, 2])
        for time in range(5):
            assert stream.mask is not None and stream.mask.argmax(axis=1).tolist() == [time % A] * 2
            assert list(stream.current) == ["observation"]
            stream.step(stream.mask.argmax(axis=1))
        stream.close()


def test_an_action_mask_that_is_not_a_mask_is_refused() -> None:
    class Named(InObservation):
        observation_space = spaces.Dict({"a": SPACE, "action_mask": spaces.Box(0, 5, (A,), np.int8)})

    class Short(InObservation):
        observation_space = spaces.Dict({"a": SPACE, "action_mask": spaces.MultiBinary(A - 1)})

    for make in (Named, Short):
        with pytest.raises(SpaceError, match="observation 'action_mask': expected a mask, 4 yes/no values"):
            probe(make)


def test_masks_in_both_places_that_differ_are_a_fault() -> None:
    class Both(InObservation):
        def tell(self, info: dict[str, Any]) -> Any:
            return {"action_mask": np.ones(A, bool)}

    with pytest.raises(EnvironmentFault, match="differ"):
        probe(Both)


# -- rewards, ends, infos ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reward", [None, "1", b"1", np.ones(1), np.ones((1, 1)), [1.0], np.nan, np.inf, 1j, {}], ids=repr
)
def test_a_reward_that_is_not_finite_is_reported_as_it_was(reward: Any) -> None:
    with pytest.raises(EnvironmentFault, match=r"returned the reward .* at step 1: expected a finite number") as caught:
        probe(environment(reward=reward))
    assert str(reward) in str(caught.value) or repr(reward) in str(caught.value)


@pytest.mark.parametrize("reward", [1, True, np.float32(0.5), np.int64(3), np.array(0.25)], ids=repr)
def test_a_reward_may_be_any_number(reward: Any) -> None:
    assert probe(environment(reward=reward)).reward_range == (float(reward), float(reward))


@pytest.mark.parametrize("name", ["terminated", "truncated"])
@pytest.mark.parametrize("value", [None, "no", np.array([False]), 2, 0.0], ids=repr)
def test_an_end_flag_that_is_not_a_bool_is_refused(name: str, value: Any) -> None:
    with pytest.raises(EnvironmentFault, match=rf"returned {name} = .* at step 1: expected a bool"):
        probe(environment(**{name: value}))


@pytest.mark.parametrize("value", [False, np.False_, 0, np.array(False)], ids=repr)
def test_an_end_flag_may_be_any_kind_of_bool(value: Any) -> None:
    assert not probe(environment(terminated=value), steps=20).lengths


@pytest.mark.parametrize("info", [None, [], "no"], ids=repr)
def test_an_info_that_is_not_a_dict_is_refused(info: Any) -> None:
    with pytest.raises(EnvironmentFault, match=r"returned the info .* from reset: expected a dict"):
        probe(environment(info=info))


@pytest.mark.parametrize("value", [None, "yes", np.ones(2), -1, 7, np.nan], ids=repr)
def test_an_invalid_success_is_refused(value: Any) -> None:
    with pytest.raises(EnvironmentFault, match=r"info\['is_success'\] = .* at step 1: expected True or False"):
        probe(environment(success=value))


def test_infos_that_differ_between_environments_neither_break_nor_truncate() -> None:
    class Various(environment()):  # type: ignore[misc]
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            self.number = 0 if seed is None else seed
            return super().reset(seed=seed)

        def tell(self, info: dict[str, Any]) -> Any:
            extra = [1, "text", np.ones(3), {"a": 1}][self.number % 4]
            more = [np.ones(2), np.ones(3), None, 1][self.number % 4]
            return {"extra": extra, "more": more, "is_success": [0, 0.5, True, np.float32(1)][self.number % 4]}

    for mode in ("sync", "async"):
        stream = VectorStream(
            make_vector(Various, 4, mode),
            ObservationSpec.from_space(Various.observation_space),
            FOUR,
        )
        stream.reset([0, 1, 2, 3])
        outcome = stream.step(np.zeros(4, np.int64))
        assert [success_of(outcome.info, row) for row in range(4)] == [0.0, 0.5, 1.0, 1.0], mode
        assert set(outcome.info) == {"is_success", "_is_success"}
        stream.close()


@pytest.mark.parametrize("dtype", [np.int64, np.float64, bool])
@pytest.mark.parametrize("space", [spaces.Box(0, 1, (3, 3), np.uint8), spaces.MultiBinary(4)], ids=str)
def test_integers_of_another_dtype_are_read_the_same_in_the_probe_and_in_parallel(space: Any, dtype: Any) -> None:
    class Other(environment()):  # type: ignore[misc]
        observation_space = spaces.Dict({"a": space, "b": SPACE})

        def see(self) -> Any:
            return {"a": np.ones(space.shape, dtype), "b": np.zeros(3, np.float32)}

    found = probe(Other)
    stream = VectorStream(make_vector(Other, 2), found.observation, FOUR)
    stream.reset([1, 2])
    assert (stream.current["a"] == 1).all()


def test_numbers_that_would_wrap_around_are_refused() -> None:
    class Wraps(environment()):  # type: ignore[misc]
        observation_space = spaces.Box(0, 255, (3, 3), np.uint8)

        def see(self) -> Any:
            return np.full((3, 3), 256 if self.time == 3 else 1)

    stream = VectorStream(make_vector(Wraps, 2), ObservationSpec.from_space(Wraps.observation_space), FOUR)
    stream.reset([1, 2])
    for _ in range(2):
        stream.step(np.zeros(2, np.int64))
    with pytest.raises(EnvironmentFault, match="expected uint8 as its space says, got int64 from 256 to 256"):
        stream.step(np.zeros(2, np.int64))


# -- actions and faults --------------------------------------------------------------------------------------------


def test_actions_have_the_sampled_type_in_the_probe_and_in_parallel() -> None:
    class Typed(environment()):  # type: ignore[misc]
        types: set[type] = set()  # noqa: RUF012

        def step(self, action: Any) -> Any:
            Typed.types.add(type(action))
            return super().step(action)

    probe(Typed)
    stream = VectorStream(make_vector(Typed, 2), ObservationSpec.from_space(Typed.observation_space), FOUR)
    stream.reset([1, 2])
    stream.step(np.array([0, 1]))
    make_checked(Typed).reset()
    assert Typed.types == {type(spaces.Discrete(A).sample())} == {np.int64}


@pytest.mark.parametrize("where", ["reset", "step", "make"])
def test_sys_exit_in_an_environment_is_a_fault(where: str) -> None:
    class Exits(environment()):  # type: ignore[misc]
        def __init__(self) -> None:
            if where == "make":
                sys.exit("no licence")

        def tell(self, info: dict[str, Any]) -> Any:
            if where == "reset" or self.time:
                sys.exit(3)
            return info

    with pytest.raises(EnvironmentFault, match=r"sys\.exit\((3|'no licence')\)"):
        probe(Exits)

    def side_by_side() -> None:
        stream = VectorStream(make_vector(Exits, 2), ObservationSpec.from_space(Exits.observation_space), FOUR)
        stream.reset([1, 2])
        stream.step(np.zeros(2, np.int64))

    with pytest.raises(EnvironmentFault, match=r"sys\.exit"):
        side_by_side()


def test_something_that_is_not_an_environment_is_named() -> None:
    for make in (lambda: None, lambda: gym.make, lambda: gym.make_vec("CartPole-v1", 2)):
        with pytest.raises(EnvironmentFault, match=r"expected a gymnasium\.Env, got"):
            make_checked(make)  # type: ignore[arg-type]

    class Spaceless(Scripted):
        observation_space = None  # type: ignore[assignment]

    class Undeclared(gym.Env[Any, Any]):
        action_space = spaces.Discrete(2)

    for unready in (Spaceless, Undeclared):
        with pytest.raises(EnvironmentFault, match=r"expected an observation_space \(a gymnasium\.Space\)"):
            probe(unready)


def test_a_close_that_fails_is_a_warning() -> None:
    class Stuck(Scripted):
        def close(self) -> None:
            raise OSError("the door is jammed")

    assert any("close failed: OSError: the door is jammed" in text for text in probe(Stuck).warnings)
    envs = make_vector(Stuck, 2)
    with pytest.warns(RuntimeWarning, match="environment 1 failed in close: OSError: the door is jammed"):
        close_vector(envs)


def test_a_worker_that_dies_is_reported_and_can_be_closed() -> None:
    class Dies(environment()):  # type: ignore[misc]
        def step(self, action: Any) -> Any:
            os.kill(os.getpid(), signal.SIGKILL)

    envs = make_vector(Dies, 2, "async")
    stream = VectorStream(envs, ObservationSpec.from_space(Dies.observation_space), FOUR)
    stream.reset([1, 2])
    with pytest.raises(EnvironmentFault, match=r"a worker process ended with exit code -9 \(killed"):
        stream.step(np.zeros(2, np.int64))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        close_vector(envs)
    assert not any(worker.is_alive() for worker in envs.processes)  # type: ignore[attr-defined]


def test_a_fault_in_a_worker_is_reported_as_it_is() -> None:
    class TwoArguments(Exception):
        def __init__(self, one: str, two: str) -> None:
            super().__init__(one)

    class Raises(environment()):  # type: ignore[misc]
        def step(self, action: Any) -> Any:
            raise TwoArguments("the motor", "burnt")

    envs = make_vector(Raises, 2, "async")
    stream = VectorStream(envs, ObservationSpec.from_space(Raises.observation_space), FOUR)
    stream.reset([1, 2])
    with pytest.raises(EnvironmentFault, match=r"environment \d failed in step: TwoArguments: the motor"):
        stream.step(np.zeros(2, np.int64))
    stream.close()


# -- one instance --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("wrap", [lambda env: env, lambda env: gym.wrappers.TimeLimit(env, 5)], ids=["bare", "wrapped"])
def test_one_instance_for_several_rows_is_a_fault(mode: Any, wrap: Any) -> None:
    env = environment()()
    with pytest.raises(SharedInstance, match=r"it must return a new one every time. Write `lambda: MyEnv\(\)`"):
        make_vector(lambda: wrap(env), 3, mode)
    close_vector(make_vector(lambda: wrap(env), 1))
    close_vector(make_vector(lambda: wrap(env), 1))  # what was closed may be used again
    assert issubclass(SharedInstance, SeqelError)


def test_separate_copies_are_not_a_shared_instance() -> None:
    close_vector(make_vector(environment(), 3))
    env = environment()()
    CheckedEnv(env)  # forgotten without being closed
    CheckedEnv(env).close()


FOUR = ActionSpec((A,), (0,))
