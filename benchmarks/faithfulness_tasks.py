"""Tasks in which it is known which past steps a decision has to use, for `faithfulness.py`.

passive T-Maze     the turn at the junction: the cue at step 0
RepeatPrevious     the suit of the card dealt 31 steps ago, while other cards were dealt at every step
MemoryS7           the first action that another object in the start room would have changed and that is worth a tenth of the
                   reward: every step with it in view
CountRecall        the count of a colour: every past step at which that colour was dealt; but as there are two, those of the
                   other colour say as much: the count is the number of steps less theirs. The control shows it

Each task also says what those steps could have shown instead, after which another action is right; if the agent then takes
another one, the question is why it does not in the episode as it was. A control is the episode with a step changed that is
not among them, so that it should not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

from seqel.agents.agent import Agent
from seqel.environments.resolve import resolve
from seqel.explanation.question import Question
from seqel.explanation.reading import Reading
from seqel.explanation.trace import EpisodeTrace, record_episode
from version_01 import PRESETS

__all__ = ["TASKS", "Decision", "Task", "greedy_actions"]

PER_EPISODE = 4  # decisions that are taken from an episode of cards
BACK = 31  # steps, in RepeatPreviousMedium
MATTERS = 0.1  # of the reward of MemoryS7, which is 1 less what the steps take; a step takes less than 0.004


@dataclass(frozen=True)
class Decision:
    """One decision and, where they are known, the past steps that it has to use, and episodes with changed steps."""

    trace: EpisodeTrace
    step: int
    relevant: tuple[int, ...] = ()
    altered: EpisodeTrace | None = None
    question: Question = Question()  # noqa: RUF009 - immutable
    control: EpisodeTrace | None = None


@dataclass(frozen=True)
class Task:
    """An environment, how long to train at most, with which settings, and the decisions of an episode."""

    env: str
    args: dict[str, Any]
    steps: int
    threshold: float  # the mean return at which training stops
    decisions: Callable[[Agent, Task, int], list[Decision]]
    settings: dict[str, Any] = field(default_factory=dict)  # that differ from the default
    count: int = 60  # decisions per seed


def _with_leaf(trace: EpisodeTrace, path: str, change: Callable[[NDArray[Any]], None]) -> EpisodeTrace:
    leaf = trace.observation[path].copy()
    change(leaf)
    return replace(trace, observation={**trace.observation, path: leaf})


def tmaze(agent: Agent, task: Task, seed: int) -> list[Decision]:
    """The last step is the turn; the other cue makes the other turn right."""
    trace = record_episode(agent, resolve(task.env, **task.args), seed)

    def other_cue(leaf: NDArray[Any]) -> None:
        leaf[0, 1] *= -1

    return [_decision(agent, trace, len(trace) - 1, (0,), _with_leaf(trace, "observation", other_cue))]


def _decision(
    agent: Agent,
    trace: EpisodeTrace,
    step: int,
    relevant: tuple[int, ...],
    altered: EpisodeTrace,
    control: EpisodeTrace | None = None,
) -> Decision:
    here = slice(step, step + 1)
    before, after = (int(greedy_actions(Reading(agent, one), here)[0, 0]) for one in (trace, altered))
    return Decision(trace, step, relevant, altered, Question() if after == before else Question(before, after), control)


class _Watched(gym.Wrapper[Any, Any, Any, Any]):
    """MiniGrid's Memory, with the place of the start room's object in each view; None where it is not in view."""

    seen: list[tuple[int, int] | None]

    def reset(self, **options: Any) -> Any:
        found = self.env.reset(**options)
        self.seen = [self._view()]
        return found

    def step(self, action: Any) -> Any:
        found = self.env.step(action)
        self.seen.append(self._view())
        return found

    def _view(self) -> tuple[int, int] | None:
        maze: Any = self.env.unwrapped
        place = 1, maze.height // 2 - 1
        return maze.relative_coords(*place) if maze.agent_sees(*place) else None


def memory(agent: Agent, task: Task, seed: int) -> list[Decision]:
    """The first step, without the object in view, at which another object would have made another action better by `MATTERS`.

    It decides between the two ways; other changes are between actions of nearly equal values, like two that do nothing. The
    object is a ball in place of the key, or the reverse, wherever it was in view.
    """
    watched: list[_Watched] = []

    def make() -> _Watched:
        watched.append(_Watched(resolve(task.env, **task.args)()))
        return watched[-1]

    trace = record_episode(agent, make, seed)
    seen = watched[-1].seen
    shown = [step for step in range(len(trace)) if seen[step] is not None]
    path = next(leaf.path for leaf in agent.observation_spec.leaves if len(leaf.shape) == 3)

    def swapped(leaf: NDArray[Any]) -> None:
        for step in shown:
            x, y = seen[step] or (0, 0)
            leaf[step, x, y, 0] = {5: 6, 6: 5}[int(leaf[step, x, y, 0])]  # MiniGrid's codes of key and ball

    altered = _with_leaf(trace, path, swapped)
    every = np.arange(len(trace))
    values, others = (action_scores(Reading(agent, one), slice(len(trace)))[:, 0] for one in (trace, altered))
    act, other = values.argmax(axis=1), others.argmax(axis=1)
    lost = np.minimum(values[every, act] - values[every, other], others[every, other] - others[every, act])
    decisive = [step for step in np.flatnonzero(lost >= MATTERS).tolist() if seen[step] is None]
    relevant = tuple(step for step in shown if decisive and step < decisive[0])
    if not relevant or len(relevant) == decisive[0]:
        return []
    question = Question(int(act[decisive[0]]), int(other[decisive[0]]))
    return [Decision(trace, decisive[0], relevant, altered, question)]


def greedy_actions(reading: Reading, steps: slice) -> NDArray[np.int64]:
    """Return the greedy action at S steps of a history, (S, M)."""
    return action_scores(reading, steps).argmax(axis=-1)


def action_scores(reading: Reading, steps: slice) -> NDArray[np.float32]:
    """Return the scores whose argmax is the greedy action at S steps of a history, (S, M, A)."""
    with torch.no_grad():
        h = reading.states(reading.tokens[None])[0, steps]
        found: NDArray[np.float32] = reading.decision_scores(h, steps).float().numpy()
    return found


def count_recall(agent: Agent, task: Task, seed: int) -> list[Decision]:
    """An observation is (card dealt, card asked for). With one of the cards counted being another, the count is one less."""
    trace = record_episode(agent, resolve(task.env, **task.args), seed)
    dealt, asked = trace.observation["observation"].T
    rng = np.random.default_rng(seed)
    found = []
    for step in sorted(rng.permutation(np.arange(6, len(trace)))[:PER_EPISODE].tolist()):
        relevant = tuple(past for past in range(step) if dealt[past] == asked[step])
        if not relevant or len(relevant) == step:
            continue
        another = max(set(range(step)) - set(relevant))
        altered, control = (_other_card(agent, trace, past) for past in (relevant[-1], another))
        found.append(_decision(agent, trace, step, relevant, altered, control))
    return found


def _other_card(agent: Agent, trace: EpisodeTrace, past: int) -> EpisodeTrace:
    """Return the episode in which the card dealt at a step is of the next kind."""
    kinds = agent.observation_spec.leaves[0].sizes[0]

    def next_kind(leaf: NDArray[Any]) -> None:
        leaf[past, 0] = (leaf[past, 0] + 1) % kinds

    return _with_leaf(trace, "observation", next_kind)


def repeat_previous(agent: Agent, task: Task, seed: int) -> list[Decision]:
    """An observation is the suit that is dealt. Another suit `BACK` steps ago makes another action right."""
    trace = record_episode(agent, resolve(task.env, **task.args), seed)
    rng = np.random.default_rng(seed)
    found = []
    for step in sorted(rng.permutation(np.arange(BACK, len(trace)))[:PER_EPISODE].tolist()):
        past = step - BACK
        another = int(rng.choice(np.delete(np.arange(step), past)))
        altered, control = (_other_card(agent, trace, one) for one in (past, another))
        found.append(_decision(agent, trace, step, (past,), altered, control))
    return found


TASKS: dict[str, Task] = {
    "tmaze": Task("seqel/TMaze-v0", {"length": 50}, 150_000, 0.99, tmaze, count=30),
    # the default solved it in results/one-default
    "memory-s7": Task("MiniGrid-MemoryS7-v0", {}, 400_000, 0.94, memory, {"validation.every": 10_000}),
    # three seeds of each were solved with these settings in results/learn
    "repeat-previous": Task(
        "popgym-RepeatPreviousMedium-v0",
        {},
        400_000,
        0.98,
        repeat_previous,
        PRESETS["immediate"] | {"validation.every": 10_000},
    ),
    "count-recall": Task(
        "popgym-CountRecallEasy-v0",
        {},
        3_000_000,
        0.93,
        count_recall,
        PRESETS["immediate"] | {"validation.every": 50_000},
    ),
}
