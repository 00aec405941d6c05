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
    if mine.schema.action_columns != encoding.schema.action_columns and mine.action.dims + encoding.action.dims > 2:
        raise DataError(
            f"expected the action columns that the agent was trained on, {list(encoding.schema.action_columns)}, got "
            f"{list(mine.schema.action_columns)}"
        )
    codes = [_action_codes(*names) for names in zip(mine.names, encoding.names, strict=True)]  # one per dimension
    recorded, spec = dataset.buffer, encoding.action
    keep = _with_known_actions(recorded, codes)
    if not len(keep):
        raise DataError(f"expected sessions with only the agent's {spec} actions, got none")
    part = recorded.copy_subset(keep)
    layout = Layout(encoding.observation.storage, spec.actions, spec.dims, recorded.layout.masked, recorded=True)
    columns: dict[str, NDArray[Any]] = dict(part.slots.columns)
    taken, dtype = columns["action"], layout.columns()["action"][1]
    columns["action"] = np.column_stack([np.maximum(one, 0)[taken[:, m]] for m, one in enumerate(codes)]).astype(dtype)
    if layout.masked:
        given = columns["action_mask"].reshape(len(taken), spec.dims, -1)
        wide = np.zeros((len(taken), spec.dims, spec.actions), np.bool_)
        for m, one in enumerate(codes):
            wide[:, m, one[one >= 0]] = given[:, m, : len(one)][:, one >= 0]
        columns["action_mask"] = wide[:, 0] if spec.dims == 1 else wide
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


def _action_codes(mine: tuple[str, ...], theirs: tuple[str, ...]) -> NDArray[np.int64]:
    """Code in the data -> code of the agent, -1 where it does not know the action."""
    known = Lookup(theirs)
    return np.array([-1 if (code := known.get(name)) is None else code for name in mine], np.int64)


def _with_known_actions(recorded: EpisodeBuffer, codes: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    if all((one >= 0).all() for one in codes):
        return np.arange(recorded.episodes)
    numbers = recorded.table.numbers
    taken = recorded.slots.columns["action"]
    unknown = np.any([one[taken[:, m]] < 0 for m, one in enumerate(codes)], axis=0)
    bad = np.concatenate([[0], np.cumsum(unknown)])
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
