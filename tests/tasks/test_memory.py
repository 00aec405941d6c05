"""The rules of the T-Maze, by hand and with scripted players."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from seqel.errors import ConfigError, EnvironmentFault, SpaceError
from seqel.tasks.memory import DOWN, LEFT, RIGHT, UP, ActiveTMaze, PassiveTMaze, TMaze, optimal_action
from seqel.tasks.registry import TASKS, register


def play(env: TMaze, choose: Any, **reset: Any) -> tuple[float, list[Any], list[float], dict[str, Any]]:
    """Return the return, observations, rewards and last info of one episode; `choose` gets the observations so far."""
    observations = [env.reset(**reset)[0]]
    rewards: list[float] = []
    while True:
        observation, reward, terminated, truncated, info = env.step(choose(observations))
        observations.append(observation)
        rewards.append(reward)
        assert not truncated
        assert env.observation_space.contains(observation)
        if terminated:
            return sum(rewards), observations, rewards, info
        assert info == {}


def script(*actions: int) -> Any:
    return lambda observations: actions[len(observations) - 1]


@pytest.mark.parametrize("length", [1, 2, 10, 50, 250])
def test_the_optimal_player_always_gets_exactly_one(length: int) -> None:
    env = PassiveTMaze(length)
    cues = set()
    for seed in range(20):
        total, observations, rewards, info = play(env, optimal_action, seed=seed)
        assert total == 1.0
        assert rewards == [0.0] * length + [1.0]
        assert info == {"is_success": True}
        cue = observations[0][1]
        cues.add(cue)
        expected = [(0, cue), *[(0, 0)] * (length - 1), (1, 0), (1, cue)]
        np.testing.assert_array_equal(observations, np.array(expected, np.float32))
    assert cues == {-1.0, 1.0}


def test_an_arm_chosen_without_memory_is_right_half_of_the_time() -> None:
    env, rng = PassiveTMaze(5), np.random.default_rng(0)
    env.reset(seed=0)

    def forgetful(observations: list[Any]) -> int:
        return (UP, DOWN)[rng.integers(2)] if observations[-1][0] == 1 else RIGHT

    random_arm = [play(env, forgetful)[3]["is_success"] for _ in range(2000)]
    always_up = [play(env, lambda o: UP if o[-1][0] == 1 else RIGHT)[3]["is_success"] for _ in range(2000)]
    for successes in (random_arm, always_up):  # 4 standard errors = 0.045
        assert abs(np.mean(successes) - 0.5) < 0.045


@pytest.mark.parametrize(
    ("actions", "rewards", "success"),
    [  # length 4, goal up: 5 steps; behind where x < t
        ([RIGHT, RIGHT, RIGHT, RIGHT, UP], [0, 0, 0, 0, 1], True),
        ([RIGHT, RIGHT, RIGHT, RIGHT, DOWN], [0, 0, 0, 0, 0], False),
        ([RIGHT, RIGHT, RIGHT, RIGHT, RIGHT], [0, 0, 0, 0, 0], False),
        ([LEFT, LEFT, LEFT, LEFT, LEFT], [-0.25, -0.25, -0.25, -0.25, 0], False),
        ([UP, RIGHT, RIGHT, RIGHT, RIGHT], [-0.25, -0.25, -0.25, -0.25, 0], False),
        ([RIGHT, RIGHT, DOWN, RIGHT, RIGHT], [0, 0, -0.25, -0.25, 0], False),
        ([RIGHT, LEFT, RIGHT, RIGHT, RIGHT], [0, -0.25, -0.25, -0.25, 0], False),
        ([RIGHT, RIGHT, RIGHT, UP, UP], [0, 0, 0, -0.25, 0], False),
    ],
)
def test_rewards_by_hand(actions: list[int], rewards: list[float], success: bool) -> None:
    _, _, came, info = play(PassiveTMaze(4), script(*actions), options={"cue": 1})
    assert came == rewards
    assert info == {"is_success": success}
    mirrored = [{UP: DOWN, DOWN: UP}.get(action, action) for action in actions]
    _, _, came, info = play(PassiveTMaze(4), script(*mirrored), options={"cue": -1})
    assert came == rewards
    assert info == {"is_success": success}


def test_the_cue_is_seen_once() -> None:
    _, observations, _, _ = play(PassiveTMaze(4), script(LEFT, RIGHT, LEFT, UP, DOWN), options={"cue": -1})
    np.testing.assert_array_equal(observations, np.array([(0, -1)] + [(0, 0)] * 5, np.float32))


def test_an_optimal_player_needs_its_memory() -> None:
    assert optimal_action([np.array([0, 1], np.float32)]) == RIGHT
    junction = np.array([1, 0], np.float32)
    assert optimal_action([np.array([0, 1], np.float32), junction]) == UP
    assert optimal_action([np.array([0, -1], np.float32), junction]) == DOWN
    assert optimal_action([np.zeros(2, np.float32), junction]) == LEFT  # it has seen no cue yet
    with pytest.raises(ValueError, match="got none"):
        optimal_action([])


@pytest.mark.parametrize("length", [1, 2, 10, 100])
def test_the_optimal_player_of_the_active_maze_fetches_the_cue_first(length: int) -> None:
    cues = set()
    for seed in range(20):
        total, observations, rewards, info = play(ActiveTMaze(length), optimal_action, seed=seed)
        assert (total, info) == (1.0, {"is_success": True})
        assert rewards == [0.0] * (length + 2) + [1.0]
        cue = observations[1][1]
        cues.add(cue)
        expected = [(0, 0), (0, cue), *[(0, 0)] * length, (1, 0), (1, cue)]
        np.testing.assert_array_equal(observations, np.array(expected, np.float32))
    assert cues == {-1.0, 1.0}


def test_without_the_cue_half_of_the_active_mazes_are_solved_at_no_penalty() -> None:
    env = ActiveTMaze(5)
    env.reset(seed=0)
    returns = [play(env, lambda o: UP if o[-1][0] == 1 else RIGHT)[0] for _ in range(2000)]
    assert set(returns) == {0.0, 1.0}
    assert abs(np.mean(returns) - 0.5) < 0.045  # 4 standard errors


@pytest.mark.parametrize(
    ("actions", "rewards", "success"),
    [  # length 2, junction at 3, goal up: 5 steps; behind where x < t - 1
        ([LEFT, RIGHT, RIGHT, RIGHT, UP], [0, 0, 0, 0, 1], True),
        ([LEFT, RIGHT, RIGHT, RIGHT, DOWN], [0, 0, 0, 0, 0], False),
        ([RIGHT, RIGHT, UP, UP, UP], [0, 0, 0, 0, 1], True),
        ([UP, UP, UP, UP, UP], [0, 0, -0.5, -0.5, 0], False),
        ([LEFT, LEFT, LEFT, LEFT, LEFT], [0, -0.5, -0.5, -0.5, 0], False),
        ([LEFT, LEFT, RIGHT, RIGHT, RIGHT], [0, -0.5, -0.5, -0.5, 0], False),
    ],
)
def test_rewards_of_the_active_maze_by_hand(actions: list[int], rewards: list[float], success: bool) -> None:
    _, observations, came, info = play(ActiveTMaze(2), script(*actions), options={"cue": 1})
    assert came == rewards
    assert info == {"is_success": success}
    shown = [tuple(seen) for seen in observations if seen[0] == 0 and seen[1] != 0]
    assert shown == [(0.0, 1.0)] * (actions[0] == LEFT), "the cue is shown once, and only one step to the left"


def test_same_seed_same_cues() -> None:
    def cues(seed: int) -> list[float]:
        env = PassiveTMaze(1)
        return [env.reset(seed=seed)[0][1], *(env.reset()[0][1] for _ in range(40))]

    assert cues(3) == cues(3)
    assert cues(3) != cues(4)


def test_render() -> None:
    env = PassiveTMaze(3, render_mode="ansi")
    env.reset(options={"cue": -1})
    env.step(RIGHT)
    assert env.render() == "   .\n.@..\n   G"
    for action in (RIGHT, RIGHT, DOWN):
        env.step(action)
    assert env.render() == "   .\n....\n   @"
    assert PassiveTMaze(3).render() is None
    active = ActiveTMaze(3, render_mode="ansi")
    active.reset(options={"cue": 1})
    assert active.render() == "    G\n.@...\n    ."


def test_misuse_is_reported() -> None:
    for length in (0, -1, 2.5, True, "3"):
        with pytest.raises(ConfigError, match="length: expected an integer"):
            PassiveTMaze(length)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="render_mode: expected None or 'ansi', got 'human'"):
        PassiveTMaze(render_mode="human")
    env = PassiveTMaze(1)
    with pytest.raises(EnvironmentFault, match="expected a reset"):
        env.step(RIGHT)
    for options in ({"cue": 0}, {"goal": 1}):
        with pytest.raises(ConfigError, match="options: expected"):
            env.reset(options=options)
    env.reset()
    for action in (4, -1, 0.5):
        with pytest.raises(SpaceError, match="expected an action"):
            env.step(action)  # type: ignore[arg-type]
    env.step(RIGHT)
    assert env.step(np.int64(UP))[2]
    with pytest.raises(EnvironmentFault, match="expected a reset"):
        env.step(RIGHT)


def test_lengths_by_id() -> None:
    register()
    register()
    for task in TASKS:
        if "TMaze" not in task.id:
            continue
        env = gymnasium.make(task.id)
        maze = env.unwrapped
        assert isinstance(maze, TMaze)
        assert isinstance(maze, ActiveTMaze) == task.id.startswith("seqel/Active")
        assert maze.length == task.kwargs["length"] == task.memory - maze.detour
        assert env.metadata["seqel"] == task.suggested
        assert env.spec is not None
        assert env.spec.max_episode_steps is None, "the end is termination, not a time limit's truncation"
        assert env.spec.reward_threshold == task.threshold
    for name in ("TMaze", "ActiveTMaze"):
        assert gymnasium.make(f"seqel/{name}-v0", length=7).unwrapped.length == 7  # type: ignore[attr-defined]
