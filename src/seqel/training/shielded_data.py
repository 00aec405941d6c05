"""Recorded episodes with the masks of a shield, so that targets never use an action that the agent may not take."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from seqel.agents.agent import Agent
from seqel.agents.shielding import compile_shield
from seqel.errors import DataError
from seqel.replay.episode_buffer import EpisodeBuffer
from seqel.replay.layout import OBSERVATION
from seqel.replay.ring import EpisodeTable
from seqel.safety.shield import Shield
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.training.config import RunConfig
from seqel.training.sources import Source

__all__ = ["masks_within", "shielded", "with_shield"]

ROWS = 4_096  # episodes that are read together


def with_shield(
    config: RunConfig,
    observation: ObservationSpec,
    action: ActionSpec,
    initial_agent: Agent | None,
    info: Mapping[str, Any],
) -> tuple[RunConfig, Shield | None]:
    """Return the config with the rules of the run, and the shield: the config's, else those of the agent to start from.

    info: what the run's agent will say of its training data, for the names in rules.

    Raises ConfigError if the rules do not fit the spaces.
    """
    text = config.shield or ("" if initial_agent is None else initial_agent.info.get("shield", ""))
    if not text:
        return config, None
    return dataclasses.replace(config, shield=text), compile_shield(text, observation, action, info)


def shielded(source: Source, shield: Shield) -> Source:
    """Return recorded episodes whose masks also exclude what the rules veto; the masks are held in memory.

    The history of each episode is the recorded one. A recorded action that is vetoed stays in the history, but it is not
    trained on (`loss_mask` is False there), because the agent can never take it.

    Raises DataError: see `masks_within`.
    """
    buffer = source.buffer
    safe, mask = masks_within(buffer, shield)
    action = np.asarray(buffer.slots.columns["action"], np.int64)
    taken = np.take_along_axis(safe, action[..., None], axis=-1)[..., 0].all(axis=-1)
    columns = dict(buffer.slots.columns) | {
        "action_mask": mask.reshape(-1, *shield.action_spec.unmasked.shape),
        "by_agent": buffer.slots.columns["by_agent"] & taken,
    }
    layout = dataclasses.replace(buffer.layout, masked=True)
    made = EpisodeBuffer(layout, columns, buffer.table.numbers, buffer.table.previous_reward)
    return cast(Source, dataclasses.replace(cast(Any, source), buffer=made))


def masks_within(buffer: EpisodeBuffer, shield: Shield) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return what the rules allow after the recorded histories, and what both they and the recorded masks allow.

    Both are (slots, M, A), for the buffer's slots. At an episode's last observation, where a recorded mask need not allow
    anything, the second may be that of the rules alone.

    Raises DataError: an episode does not begin at its first step, or a recorded mask forbids all that the rules allow.
    """
    safe = _allowed(buffer, shield)
    if "action_mask" not in buffer.slots.columns:
        return safe, safe
    mask = safe & np.asarray(buffer.slots.columns["action_mask"]).reshape(safe.shape)
    empty = ~mask.any(axis=-1, keepdims=True)
    last = np.zeros(len(mask), bool)
    numbers = buffer.table.numbers
    last[numbers[:, EpisodeTable.SLOT] + numbers[:, EpisodeTable.LENGTH]] = True
    bad = np.flatnonzero(empty.reshape(len(mask), -1).any(axis=1) & ~last & _used(buffer, len(mask)))
    if len(bad):
        raise DataError(
            f"shield: {len(bad):,} recorded steps have a mask that forbids every action that the rules allow: the "
            f"fallback {shield.fallback} must be allowed in the data, too"
        )
    return safe, np.where(empty, safe, mask)


def _used(buffer: EpisodeBuffer, slots: int) -> NDArray[np.bool_]:
    """Return which slots belong to an episode of the buffer."""
    found = np.zeros(slots, bool)
    for row in buffer.table.numbers:
        found[row[EpisodeTable.SLOT] : row[EpisodeTable.SLOT] + row[EpisodeTable.LENGTH] + 1] = True
    return found


def _allowed(buffer: EpisodeBuffer, shield: Shield) -> NDArray[np.bool_]:
    """Return what the rules allow in each slot, (slots, M, A). Slots that no episode uses allow everything."""
    numbers, columns = buffer.table.numbers, buffer.slots.columns
    if (numbers[:, EpisodeTable.START] != 0).any():
        raise DataError("shield: expected episodes from their first step on, because rules count from there")
    leaves = {
        name.removeprefix(OBSERVATION): column for name, column in columns.items() if name.startswith(OBSERVATION)
    }
    spec = shield.action_spec
    found = np.repeat(spec.available[None], len(columns["reward"]), axis=0)
    order = np.argsort(-numbers[:, EpisodeTable.LENGTH], kind="stable")
    for begin in range(0, len(order), ROWS):
        part = numbers[order[begin : begin + ROWS]]
        slot, length = part[:, EpisodeTable.SLOT], part[:, EpisodeTable.LENGTH]
        state = shield.initial(len(part))
        for step in range(int(length[0]) + 1):  # the longest episode is the first
            live = int(np.searchsorted(-length, -step, side="right"))
            here = slot[:live] + step
            before = here - min(step, 1)
            state, allowed = shield.read(
                state[:live],
                {path: leaf[here] for path, leaf in leaves.items()},
                previous_action=np.asarray(columns["action"][before], np.int64),
                reward=columns["reward"][before],
                first=np.full(live, step == 0),
            )
            found[here] = allowed
    return found
