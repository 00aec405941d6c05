"""Lets an agent read recorded episodes: its decisions while its memory follows the recorded actions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seqel.errors import ConfigError
from seqel.replay.layout import OBSERVATION
from seqel.replay.ring import EpisodeTable
from seqel.spaces import FlatObservation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqel.agents.agent import Agent
    from seqel.replay.episode_buffer import EpisodeBuffer
    from seqel.types import Decision

__all__ = ["ReadStep", "read_episodes"]

AT_ONCE = 64  # recorded episodes that are read together


@dataclass(frozen=True, slots=True)
class ReadStep:
    """One step of R episodes that are read together."""

    episode: NDArray[np.int64]  # (R,) counted from 0, the longest episode first
    seen: FlatObservation  # leaves (R, *shape)
    decision: Decision  # what the agent would have done
    reward: NDArray[np.float32]  # (R,) for the recorded action
    last: NDArray[np.bool_]  # (R,) whether this is the last step of the episode


def read_episodes(agent: Agent, buffer: EpisodeBuffer, episodes: int, seed: int = 0) -> Iterator[ReadStep]:
    """Yield the steps of at most `episodes` recorded episodes, drawn at random with `seed`. The spaces must be the agent's.

    Raises ConfigError: no episodes.
    """
    if episodes < 1:
        raise ConfigError(f"expected at least 1 episode, got {episodes}")
    chosen = np.random.default_rng(seed).permutation(buffer.episodes)[:episodes]
    numbers = buffer.table.numbers[chosen]
    begin, length = numbers[:, EpisodeTable.SLOT], numbers[:, EpisodeTable.LENGTH]
    order = np.argsort(-length, kind="stable")  # episodes of similar length together
    for first in range(0, len(order), AT_ONCE):
        some = order[first : first + AT_ONCE]
        yield from _read(agent, buffer, begin[some], length[some], first)


def _read(
    agent: Agent, buffer: EpisodeBuffer, begin: NDArray[np.int64], length: NDArray[np.int64], number: int
) -> Iterator[ReadStep]:
    """Read episodes together, in the order of decreasing length, so that those that last are the first rows."""
    columns, state = buffer.slots.columns, agent.initial_state(len(begin))
    paths = [leaf.path for leaf in agent.observation_spec.leaves]
    offset = agent.action_spec.offset
    for step in range(int(length.max())):
        lasts = int((length > step).sum())
        slot = begin[:lasts] + step
        seen = FlatObservation({path: np.asarray(columns[OBSERVATION + path][slot]) for path in paths})
        before = {} if not step else {
            "reward": np.asarray(columns["reward"][slot - 1]),
            "previous_action": _shaped(np.asarray(columns["action"][slot - 1], np.int64)) + offset,
        }  # fmt: skip
        mask = np.asarray(columns["action_mask"][slot]) if "action_mask" in columns else None
        decision, state = agent.act(seen, state, mask=mask, rows=np.arange(lasts), **before)
        reward = np.asarray(columns["reward"][slot], np.float32)
        yield ReadStep(number + np.arange(lasts), seen, decision, reward, length[:lasts] == step + 1)


def _shaped(action: NDArray[np.int64]) -> NDArray[np.int64]:
    return action[:, 0] if action.shape[1] == 1 else action
