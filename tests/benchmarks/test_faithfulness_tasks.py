"""The steps that a task calls relevant are those that the right action depends on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seqel.environments.resolve import resolve
from seqel.explanation.question import Question
from seqel.explanation.reading import Reading
from seqel.explanation.trace import EpisodeTrace
from seqel.spaces import ActionSpec, ObservationSpec
from support_explanation import make_agent

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import faithfulness_tasks as tasks


def agent_for(task: tasks.Task) -> Any:
    env = resolve(task.env, **task.args)()
    spec, action = ObservationSpec.from_space(env.observation_space), ActionSpec.from_space(env.action_space)
    return make_agent(action.sizes, spec)


def test_the_other_cue_is_shown_at_the_first_step_alone() -> None:
    task = tasks.Task("seqel/TMaze-v0", {"length": 5}, 0, 1.0, tasks.tmaze)
    (one,) = tasks.tmaze(agent_for(task), task, 3)
    assert one.step == 5 and one.relevant == (0,)
    assert one.altered is not None
    before, after = one.trace.observation["observation"], one.altered.observation["observation"]
    np.testing.assert_array_equal(after[0], before[0] * (1, -1))
    np.testing.assert_array_equal(after[1:], before[1:])


def test_the_cards_that_count_are_those_asked_for_and_an_altered_one_no_longer_counts() -> None:
    pytest.importorskip("popgym")
    task = tasks.TASKS["count-recall"]
    agent = agent_for(task)
    env: Any = resolve(task.env)()
    found = [one for seed in range(3) for one in tasks.count_recall(agent, task, seed)]
    assert len(found) >= 6
    for one in found:
        dealt, asked = one.trace.observation["observation"].T
        assert one.altered is not None
        altered = one.altered.observation["observation"][:, 0]
        assert {past for past in range(one.step) if dealt[past] == asked[one.step]} == set(one.relevant)
        counts = [int((cards[: one.step + 1] == asked[one.step]).sum()) for cards in (dealt, altered)]
        assert counts[1] == counts[0] - 1
    # the game pays for exactly this count
    seen, _ = env.reset(seed=0)
    cards, rewards = [seen[0]], []
    for _ in range(20):
        seen, reward, *_ = env.step(int(np.sum(np.array(cards) == seen[1])))
        cards.append(seen[0])
        rewards.append(reward)
    assert min(rewards) > 0


def test_the_card_dealt_31_steps_ago_is_the_one_that_the_game_asks_for() -> None:
    pytest.importorskip("popgym")
    task = tasks.TASKS["repeat-previous"]
    agent = agent_for(task)
    found = [one for seed in range(2) for one in tasks.repeat_previous(agent, task, seed)]
    assert len(found) == 2 * tasks.PER_EPISODE
    for one in found:
        (past,), (again,) = (np.flatnonzero(_suits(one.trace) != _suits(other)) for other in (one.altered, one.control))
        assert one.relevant == (int(past),) and again != past
    env: Any = resolve(task.env)()
    suits, rewards = [env.reset(seed=0)[0]], []
    for step in range(60):
        seen, reward, *_ = env.step(suits[step - tasks.BACK] if step >= tasks.BACK else 0)
        suits.append(seen)
        rewards.append(reward)
    assert max(rewards[: tasks.BACK]) == 0 < min(rewards[tasks.BACK :])


def _suits(trace: EpisodeTrace | None) -> Any:
    assert trace is not None
    return next(iter(trace.observation.values())).reshape(len(trace) + 1)


def test_the_object_in_the_start_room_is_the_one_that_is_swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The player turns around, looks at the object, and comes back, and then acts by which object it saw more often."""
    pytest.importorskip("minigrid")
    task = tasks.TASKS["memory-s7"]
    agent = agent_for(task)
    actions = [0, 0, 1, 1, 2, 0]  # left, left, right, right, forward, left

    def played(agent: Any, make: Any, seed: int) -> EpisodeTrace:
        env = make()
        seen = [env.reset(seed=seed)[0], *(env.step(action)[0] for action in actions)]
        flat = [agent.observation_spec.flatten(one, None) for one in seen]
        observation = {path: np.stack([one[path] for one in flat]) for path in flat[0]}
        return EpisodeTrace(observation, np.array(actions), np.zeros(6, np.float32), np.zeros((0, 0), np.float32), None)

    path = next(leaf.path for leaf in agent.observation_spec.leaves if len(leaf.shape) == 3)

    def scores(reading: Any, steps: slice) -> Any:
        cells = reading.trace.observation[path][..., 0]  # (T+1, 7, 7)
        keys, balls = ((cells == code).sum(axis=(1, 2)).cumsum() for code in (5, 6))
        return np.stack([keys <= balls, keys > balls], axis=1).astype(np.float32)[steps, None]

    monkeypatch.setattr(tasks, "record_episode", played)
    monkeypatch.setattr(tasks, "action_scores", scores)
    found = [one for seed in range(8) for one in tasks.memory(agent, task, seed)]
    assert len(found) >= 4
    for one in found:
        assert one.altered is not None
        seen = int(scores(Reading(agent, one.trace), slice(one.step, one.step + 1)).argmax())
        assert one.question == Question(seen, 1 - seen)
        before, after = one.trace.observation[path], one.altered.observation[path]
        differs = before != after
        assert tuple(np.unique(np.argwhere(differs)[:, 0]).tolist()) == one.relevant
        assert one.step not in one.relevant and len(one.relevant) < one.step
        assert set(before[differs].tolist()) | set(after[differs].tolist()) == {5, 6}  # a key, a ball
