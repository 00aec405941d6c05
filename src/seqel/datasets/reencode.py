"""Re-encodes a dataset for an agent: codes of another import's vocabularies become those of the agent's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.datasets.encoding import CATEGORIES, NUMBERS, Encoding
from seqel.datasets.values import Lookup
from seqel.errors import DataError
from seqel.replay.episode_buffer import EpisodeBuffer
from seqel.replay.in_memory_dataset import InMemoryDataset
from seqel.replay.layout import OBSERVATION, Layout
from seqel.replay.ring import EpisodeTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seqel.datasets.dataset import Dataset

__all__ = ["reencode"]


def reencode(dataset: Dataset, encoding: Encoding) -> Dataset | InMemoryDataset:
    """Return the sessions in the agent's encoding, in memory; the dataset itself if the encodings are equal.

    Categories that the agent does not know become "unknown". Sessions with actions that it does not know are dropped,
    because it has no values for these actions.

    Raises:
        DataError: the observed columns are not the agent's, a value is missing that was never missing in its training
            data, or no session is left.
    """
    mine = dataset.encoding
    if mine == encoding:
        return dataset
    room = {one.schema.most_entities for one in (mine, encoding) if one is not None}
    if mine is not None and len(room) > 1 and encoding.schema.of_kind("entities"):
        raise DataError(
            f"expected most_entities = {encoding.schema.most_entities}, as the agent has, got {mine.schema.most_entities}"
        )
    if mine is None or mine.schema.observation != encoding.schema.observation or mine.widths != encoding.widths:
        got = "no table" if mine is None else dict(mine.schema.observation)
        raise DataError(f"expected the columns that the agent observes, {dict(encoding.schema.observation)}, got {got}")
    known = Lookup(encoding.actions)
    action = np.array([-1 if (code := known.get(name)) is None else code for name in mine.actions], np.int64)
    recorded = dataset.buffer
    keep = _with_known_actions(recorded, action < 0)
    if not len(keep):
        raise DataError(f"expected sessions with only the agent's {len(encoding.actions)} actions, got none")
    part = recorded.copy_subset(keep)
    layout = Layout(encoding.observation.storage, len(encoding.actions), masked=recorded.layout.masked, recorded=True)
    columns: dict[str, NDArray[Any]] = dict(part.slots.columns)
    columns["action"] = np.maximum(action, 0)[columns["action"]].astype(layout.columns()["action"][1])
    if layout.masked:
        wide = np.zeros((len(columns["action"]), len(encoding.actions)), np.bool_)
        wide[:, action[action >= 0]] = columns["action_mask"][:, action >= 0]
        columns["action_mask"] = wide
    names = encoding.schema.of_kind("number")
    if names:
        numbers = _shifted(columns[OBSERVATION + NUMBERS], names, mine, encoding)
        columns[OBSERVATION + NUMBERS] = _marks(numbers, names, mine, encoding)
    if encoding.schema.of_kind("category"):
        columns[OBSERVATION + CATEGORIES] = _codes(columns[OBSERVATION + CATEGORIES], mine, encoding)
    for name in encoding.schema.of_kind("vector"):
        path = f"{OBSERVATION}vector/{name}"
        columns[path] = _marks(columns[path], [name], mine, encoding, mine.widths[name])
    return InMemoryDataset(EpisodeBuffer(layout, columns, part.table.numbers), encoding.observation, encoding.action)


def _with_known_actions(recorded: EpisodeBuffer, unknown: NDArray[np.bool_]) -> NDArray[np.int64]:
    if not unknown.any():
        return np.arange(recorded.episodes)
    numbers = recorded.table.numbers
    bad = np.concatenate([[0], np.cumsum(unknown[recorded.slots.columns["action"][:, 0]])])
    begin = numbers[:, EpisodeTable.SLOT]
    return np.flatnonzero(bad[begin + numbers[:, EpisodeTable.LENGTH]] == bad[begin])


def _codes(codes: NDArray[Any], mine: Encoding, theirs: Encoding) -> NDArray[Any]:
    out = np.empty_like(codes)
    for place, name in enumerate(theirs.schema.of_kind("category")):
        table = np.array([0] + [theirs.code(name, one) for one in mine.vocabularies[name]], codes.dtype)
        out[:, place] = table[codes[:, place]]
    return out


def _shifted(values: NDArray[Any], names: list[str], mine: Encoding, theirs: Encoding) -> NDArray[Any]:
    """Replace the data's offsets by the agent's; missing values stay 0."""
    out = values.copy()
    marked = [name for name in names if name in mine.missing]
    for place, name in enumerate(names):
        shift = mine.offsets.get(name, 0.0) - theirs.offsets.get(name, 0.0)
        if shift:
            moved = (values[:, place].astype(np.float64) + shift).astype(values.dtype)
            there = values[:, len(names) + marked.index(name)] == 0 if name in marked else True
            out[:, place] = np.where(there, moved, 0)
    return out


def _marks(
    values: NDArray[Any], names: list[str], mine: Encoding, theirs: Encoding, width: int | None = None
) -> NDArray[Any]:
    """Convert the marks of missing values, which follow the values; the encodings may have them for different columns."""
    plain = len(names) if width is None else width
    marked = [name for name in names if name in mine.missing]
    out = [values[:, :plain]]
    for name in names:
        mark = values[:, plain + marked.index(name)] if name in marked else np.zeros(len(values), values.dtype)
        if name in theirs.missing:
            out.append(mark[:, None])
        elif mark.any():
            raise DataError(
                f"column {name!r}: missing in {int(mark.sum()):,} rows, but never in the agent's training data"
            )
    return np.concatenate(out, axis=1)
