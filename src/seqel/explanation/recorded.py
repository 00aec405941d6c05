"""Recorded sessions as traces, so that the same explanations serve data and simulated episodes."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.datasets.encoding import CONSTANT
from seqel.errors import DataError
from seqel.explanation.trace import LONGEST, EpisodeTrace
from seqel.extras import require
from seqel.replay.layout import OBSERVATION
from seqel.replay.ring import EpisodeTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seqel.agents.agent import Agent
    from seqel.datasets.dataset import Dataset
    from seqel.datasets.schema import Schema
    from seqel.replay.episode_buffer import EpisodeBuffer

__all__ = ["find_session", "history_alone", "session_rows", "trace_session"]

COMPARED = 20_000  # names at most that an unknown one is compared with


def trace_session(buffer: EpisodeBuffer, place: int = 0, limit: int = LONGEST) -> EpisodeTrace:
    """Return a recorded episode as a trace. Its actions and rewards are the recorded ones, and `q` is empty.

    place: its row in the buffer. Of a longer episode, the latest `limit` steps are taken.

    Raises:
        DataError: there is no such row.
    """
    if not 0 <= place < buffer.episodes:
        raise DataError(f"place: expected 0 to {buffer.episodes - 1}, got {place}")
    table = buffer.table
    numbers = table.numbers[place]
    slot, length, start = (int(numbers[at]) for at in (EpisodeTable.SLOT, EpisodeTable.LENGTH, EpisodeTable.START))
    cut = max(0, length - limit)
    columns = buffer.slots.columns
    steps, actions = slice(slot + cut, slot + length + 1), slice(slot + cut, slot + length)
    action = np.array(columns["action"][actions], np.int64)
    before = numbers[-action.shape[1] :].copy()
    reward = float(table.previous_reward[place])
    if cut:
        before = np.array(columns["action"][slot + cut - 1], np.int64)
        reward = float(columns["reward"][slot + cut - 1])
    mask = columns.get("action_mask")
    return EpisodeTrace(
        {
            name.removeprefix(OBSERVATION): np.array(column[steps])
            for name, column in columns.items()
            if name.startswith(OBSERVATION)
        },
        action if action.shape[1] > 1 else action[:, 0],
        np.array(columns["reward"][actions], np.float32),
        np.zeros((0, 0), np.float32),
        None,
        start + cut,
        before,
        reward,
        None if mask is None else np.array(mask[steps], np.bool_),
    )


def history_alone(agent: Agent) -> bool:
    """Return whether the agent observes nothing but its history, as in recommendations. Such a session has one decision
    more than it has actions: what would come next."""
    return [leaf.path for leaf in agent.observation_spec.leaves] == [CONSTANT]


def find_session(dataset: Dataset, name: str | None) -> tuple[int, str]:
    """Return the row of a session and its name; None: the first one.

    Raises:
        DataError: there is no session with that name; the message has the most similar one.
    """
    names = dataset.sessions
    if name is None:
        return 0, names[0]
    if name not in names:
        near = get_close_matches(name, names, n=1) if len(names) <= COMPARED else []
        hint = f"; did you mean {near[0]!r}?" if near else f"; one of them is {names[0]!r}"
        raise DataError(f"session: expected one of the {len(names):,} sessions of the data, got {name!r:.80}{hint}")
    return names.index(name), name


def session_rows(files: Sequence[str | Path], schema: Schema, name: str) -> list[dict[str, Any]]:
    """Return the observed columns of a session's rows as they are in the table, in the order of the session.

    The table is read once, because the imported store holds codes in place of texts and names.

    Raises:
        DataError: a file cannot be read.
    """
    from seqel.datasets.reading.table import Table, expand

    pl = require("polars")
    columns = [schema.session, *([schema.order] if schema.order else []), *schema.observation]
    parts = []
    for batch in Table(expand(list(files))).batches(dict.fromkeys(columns, "text")):
        rows = batch.rows
        same = rows[schema.session].cast(pl.String) == name
        if same.any():
            parts.append(rows.filter(same))
    if not parts:
        return []
    rows = pl.concat(parts, how="vertical_relaxed")
    if schema.order:
        order = rows[schema.order]
        number = order.cast(pl.Float64, strict=False)
        key = number if number.null_count() == order.null_count() else order.cast(pl.String)
        rows = rows[
            key.to_frame("key").with_row_index("row").sort("key", "row")["row"]
        ]  # ties keep the order of the file
    rows = rows.with_columns(pl.col(name).cast(pl.String) for name in schema.of_kind("text"))
    return [{column: row[column] for column in schema.observation} for row in rows.iter_rows(named=True)]
