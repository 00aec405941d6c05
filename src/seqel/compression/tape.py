"""Histories with the same observations, actions and rewards for every agent, on which decisions are compared and timed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from seqel.agents.agent import Agent
from seqel.environments.resolve import EnvMaker
from seqel.environments.vector import VectorStream, close_vector, make_vector
from seqel.replay.episode_buffer import EpisodeBuffer
from seqel.replay.layout import OBSERVATION
from seqel.replay.ring import EpisodeTable
from seqel.spaces import ActionSpec, FlatObservation
from seqel.types import Decision

__all__ = ["Follows", "Tape", "TapeStep", "decisions", "record", "recorded_tape"]

ROWS = 16


class Follows(Protocol):
    """What follows given histories: an `Agent`, or an exported agent."""

    def act(
        self,
        observation: Any,
        state: Any = None,
        *,
        reward: Any = ...,
        first: Any = ...,
        previous_action: Any = ...,
        mask: Any = ...,
    ) -> tuple[Decision, Any]:
        """Choose an action in each row; see `Agent.act`."""
        ...


@dataclass(frozen=True, slots=True)
class TapeStep:
    """One step of R rows; in every row one episode follows another."""

    observation: FlatObservation  # leaves (R, *shape)
    reward: NDArray[np.float32]  # (R,) of the action before
    first: NDArray[np.bool_]  # (R,)
    previous: NDArray[np.int64]  # (R, M) the action before, as the environment counts
    mask: NDArray[np.bool_] | None  # (R, A), or (R, M, A) if M > 1
    episode: NDArray[np.int64]  # (R,) the number of the episode; -1: the row is over
    taken: NDArray[np.int64]  # (R, M) the action that was taken, as the environment counts


Tape = list[TapeStep]


def record(agent: Agent, make: EnvMaker, seed: int, decisions: int) -> Tape:
    """Let an agent play greedily for about so many decisions. Episode n is reset with seed + n."""
    envs = make_vector(make, ROWS)
    try:
        spec = agent.action_spec
        stream = VectorStream(envs, agent.observation_spec, spec)
        stream.reset([seed + row for row in range(ROWS)])
        episode, following = np.arange(ROWS), ROWS
        state, reward = None, np.zeros(ROWS, np.float32)
        previous = np.tile(np.asarray(spec.start, np.int64), (ROWS, 1))
        tape: Tape = []
        while len(tape) * ROWS < decisions:
            seen = FlatObservation({path: leaf.copy() for path, leaf in stream.current.items()})
            first = stream.first.copy()
            mask = None if stream.mask is None else stream.mask.copy()
            decision, state = agent.act(seen, state, reward=reward, first=first, mask=mask)
            taken = decision.action.reshape(ROWS, -1)
            tape.append(TapeStep(seen, reward, first, previous, mask, episode.copy(), taken))
            outcome = stream.step(decision.action - spec.offset)
            previous, reward = taken, outcome.reward.astype(np.float32)
            over = outcome.ended
            if over.any():
                reward[over] = 0.0
                episode[over] = following + np.arange(int(over.sum()))
                following += int(over.sum())
                stream.reset(
                    [seed + int(number) if done else None for number, done in zip(episode, over, strict=True)], over
                )
        return tape
    finally:
        close_vector(envs)


def recorded_tape(episodes: EpisodeBuffer, action: ActionSpec, decisions: int) -> Tape:
    """Return recorded episodes as a tape of about so many decisions."""
    numbers, columns = episodes.table.numbers, episodes.slots.columns
    lengths = episodes.lengths
    count = max(1, int(np.searchsorted(np.cumsum(lengths), decisions)) + 1)
    lines: list[list[int]] = [[] for _ in range(min(ROWS, count, len(lengths)))]
    sizes = [0] * len(lines)
    for number in range(min(count, len(lengths))):  # each to the row that is shortest so far
        row = sizes.index(min(sizes))
        lines[row].append(number)
        sizes[row] += int(lengths[number])
    tracks = []
    for line in lines:
        slot = np.concatenate([numbers[n, EpisodeTable.SLOT] + np.arange(lengths[n]) for n in line])
        time = np.concatenate([np.arange(lengths[n]) for n in line])
        which = np.repeat(line, lengths[line])
        tracks.append((slot, time, which))
    start = np.asarray(action.start, np.int64)
    tape: Tape = []
    for step in range(max(sizes)):
        at = np.array([min(step, len(slot) - 1) for slot, _, _ in tracks])
        live = np.array([step < len(slot) for slot, _, _ in tracks])
        slot, time, which = (
            np.array([track[part][a] for track, a in zip(tracks, at, strict=True)]) for part in range(3)
        )
        first = time == 0
        before = np.maximum(slot - 1, 0)
        tape.append(
            TapeStep(
                FlatObservation({path: columns[OBSERVATION + path][slot] for path in episodes.layout.leaves}),
                np.where(first, 0.0, columns["reward"][before]).astype(np.float32),
                first,
                np.where(first[:, None], 0, columns["action"][before].astype(np.int64)) + start,
                columns["action_mask"][slot] if episodes.layout.masked else None,
                np.where(live, which, -1),
                columns["action"][slot].astype(np.int64) + start,
            )
        )
    return tape


def decisions(agent: Follows, tape: Tape) -> NDArray[np.int64]:
    """Return the greedy actions of an agent that follows the tape, (steps, R, M)."""
    state, found = None, []
    for step in tape:
        decision, state = agent.act(
            step.observation, state, reward=step.reward, first=step.first, previous_action=_squeezed(step.previous),
            mask=step.mask,
        )  # fmt: skip
        found.append(decision.action.reshape(len(step.first), -1))
    return np.stack(found)


def _squeezed(action: NDArray[np.int64]) -> NDArray[np.int64]:
    return action[:, 0] if action.shape[1] == 1 else action
