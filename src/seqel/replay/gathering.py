"""Makes batches of windows from stored steps: one integer draw, one binary search and one gather per column.

Shared by the replay, which grows, and by recorded data, which are fixed. There is no Python loop over windows or steps.
"""

from __future__ import annotations

import numpy as np
import torch

from seqel.errors import ConfigError
from seqel.replay.layout import COST, OBSERVATION, Layout
from seqel.replay.packing import Placement, place
from seqel.replay.ring import EpisodeTable, Ring
from seqel.replay.windows import Priorities, Windows, draw_uniform
from seqel.types import SequenceBatch

__all__ = ["gather", "sample_windows", "windows_of"]


def windows_of(transitions: float, mean: float, most: int) -> int:
    """Return how many windows hold about `transitions`, if one holds `mean` plus one more observation; 1 to `most`."""
    return int(np.clip(round(transitions / (mean + 1)), 1, most))


def sample_windows(
    layout: Layout,
    slots: Ring,
    table: EpisodeTable,
    priorities: Priorities | None,
    batch: int,
    *,
    window: int,
    context: int,
    discount: float,
    rng: np.random.Generator,
    pad_to: int | None = None,
    pack: bool = False,
    importance_exponent: float = 1.0,
) -> SequenceBatch:
    """Sample windows; see `Replay.sample`."""
    if batch < 1 or window < 1 or context < 0:
        raise ConfigError(f"expected batch, window >= 1 and context >= 0, got {batch}, {window} and {context}")
    if not 0.0 <= discount <= 1.0:
        raise ConfigError(f"expected a discount from 0 to 1, got {discount}")
    if priorities is None:
        windows = draw_uniform(table, batch, window, context, rng)
    elif context == priorities.context:
        windows = priorities.draw(table, batch, window, importance_exponent, rng)
    else:
        raise ConfigError(f"expected context = {priorities.context}, which the priorities were made for, got {context}")
    longest = int(windows.length.max())
    if pad_to is not None and pad_to < longest:
        raise ConfigError(f"expected pad_to of at least the longest window, {longest}, got {pad_to}")
    begins = windows.numbers[:, EpisodeTable.START] + windows.offset == 0
    placement = place(windows.length, begins, pad_to, pack, window)
    return gather(layout, slots, table, windows, placement, context, discount)


def gather(
    layout: Layout,
    slots: Ring,
    table: EpisodeTable,
    windows: Windows,
    place_: Placement,
    context: int,
    discount: float,
) -> SequenceBatch:
    """Gather the windows' steps and place them in rows. `discount` is gamma."""
    columns = slots.columns
    numbers, offset, length = windows.numbers, windows.offset, windows.length
    slot = numbers[:, EpisodeTable.SLOT] + offset  # not yet modulo the capacity: mode="wrap" does that
    start = numbers[:, EpisodeTable.START] + offset
    ends = (numbers[:, EpisodeTable.TERMINATED] > 0) & (offset + length == numbers[:, EpisodeTable.LENGTH])
    burn_in = (start > 0) * context

    tensor = torch.from_numpy
    window, time, target = place_.window, place_.time, place_.target
    shape = (place_.rows, place_.steps + 1)
    at = np.repeat((slot + length)[place_.last], shape[1])  # padding repeats the last observation of its row
    at[target] = slot[window] + time
    transition = time < length[window]
    flat = np.zeros((4, at.size), np.bool_)
    valid, live, past, first = flat
    valid[target] = transition
    live[target] = time < (length - ends)[window]  # not the terminal transition
    past[target] = time >= burn_in[window]
    first[target] = time + start[window] == 0
    at = at.reshape(shape)
    valid, live, past, first = (x.reshape(shape) for x in (valid, live, past, first))
    valid = valid[:, :-1]

    now = at[:, :-1].copy()  # (R, T); contiguous once, not in each gather
    action = columns["action"].take(now, axis=0, mode="wrap").astype(np.int64)
    reward = columns["reward"].take(now, mode="wrap")
    cost = columns[COST].take(now, mode="wrap") if layout.costs else None
    name, _, unknown = layout.extra
    extra = columns[name].take(now, mode="wrap")
    padding = ~valid
    action[padding] = 0
    reward[padding] = 0.0
    extra[padding] = unknown
    if cost is not None:
        cost[padding] = 0.0
    learn = columns["by_agent"].take(now, mode="wrap") & valid & past[:, :-1]
    gamma = (live[:, :-1] & valid) * np.float32(discount)

    weight = None
    at_slot = tensor(now % slots.capacity) if layout.recorded or windows.weight is not None else None
    if windows.weight is not None:
        spread = np.zeros(shape, np.float32)
        spread.reshape(-1)[target] = windows.weight[window]
        weight = tensor(spread[:, :-1].copy())

    leader = place_.leader
    before = slot[leader] - 1
    inside = offset[leader] > 0
    stood = columns["action"].take(before, axis=0, mode="wrap")
    previous_action = np.where(inside[:, None], stood, numbers[leader, EpisodeTable.PREVIOUS_ACTION :])
    stood = columns["reward"].take(before, mode="wrap")
    previous_reward = np.where(inside, stood, table.previous_reward.take(windows.row[leader]))

    return SequenceBatch(
        observation={name: tensor(slots.take(OBSERVATION + name, at)) for name in layout.leaves},
        action=tensor(action),
        reward=tensor(reward),
        discount=tensor(gamma),
        is_first=tensor(first),
        valid=tensor(valid.copy()),
        loss_mask=tensor(learn),
        start_step=tensor(start[leader]),
        previous_action=tensor(previous_action),
        previous_reward=tensor(previous_reward),
        action_mask=tensor(columns["action_mask"].take(at, axis=0, mode="wrap")) if layout.masked else None,
        first_visit=None if layout.recorded else tensor(extra),
        behaviour_prob=tensor(extra) if layout.recorded else None,
        cost=None if cost is None else tensor(cost),
        weight=weight,
        storage_index=at_slot,
        episode_index=tensor(windows.row[leader] + table.evicted),
        num_learned=int(np.count_nonzero(learn)),
    )
