"""Converts a bucket of records to the slots of whole episodes, with array operations only.

Each row is one step: observation, action, reward. An episode of T transitions takes T + 1 slots. The last one holds

* the session's last row, if it has neither action nor reward: it is only the final observation;
* a copy of the last observation, if the session terminated (its value is never used), or if nothing is observed at all (what
  would be observed next is then known);
* otherwise, if the session was truncated, the last row's observation: its action and reward are dropped, because the
  observation after them, which a target would bootstrap from, was not recorded.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.datasets.encoding import CATEGORIES, CONSTANT, NUMBERS
from seqel.datasets.importing.rows import MISSING, TERMINATED, TRUNCATED
from seqel.errors import DataError
from seqel.replay.layout import BEHAVIOUR, OBSERVATION

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from seqel.datasets.importing.rows import Imported

__all__ = ["Counts", "Episodes", "assemble", "stable_order"]


@dataclass
class Counts:
    """Counts for the import's report, summed over the buckets."""

    out_of_order: int = 0  # rows that are before a row of their session that they should follow
    duplicates: int = 0  # rows that equal an earlier one of their session in every column; dropped
    ties: int = 0  # rows with the session and order of an earlier one, but other values; kept in the order of the file
    first_duplicate: tuple[int, int, str] | None = None  # two rows of the table, and the session's name
    final_rows: int = 0  # sessions whose last row is a final observation
    terminated: int = 0  # episodes
    truncated: int = 0
    dropped_steps: int = 0  # last steps of sessions that were truncated
    dropped_sessions: int = 0  # sessions without any step left


@dataclass
class Episodes:
    """The episodes of a bucket, in the order of the sessions' ranks."""

    columns: dict[str, NDArray[Any]]  # as the layout names them, each (slots, *shape)
    sessions: NDArray[np.int64]  # (episodes,) provisional numbers
    length: NDArray[np.int64]  # (episodes,) transitions
    terminated: NDArray[np.bool_]  # (episodes,)
    rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))  # (slots,) row of the table


def assemble(
    records: NDArray[Any], rank: NDArray[np.int64], imported: Imported, counts: Counts, place: Callable[[int], str]
) -> Episodes:
    """Sort the records by (session's rank, order), check the sessions, and fill their slots.

    rank: provisional session number -> its position in the store. place: row of the table -> "FILE, line N".

    Raises:
        DataError: an action or reward is missing within a session, a session has rows after its end, or a recorded action
            is masked; names file, line and column.
    """
    schema = imported.encoding.schema
    records = _deduplicated(_sorted(records, rank, counts), imported, counts)
    begins = np.flatnonzero(np.diff(records["session"].astype(np.int64), prepend=-1) != 0)
    size = np.diff(np.append(begins, len(records)))
    last = begins + size - 1
    final = _check_missing(records, last, schema.action_columns, schema.reward, place)
    ended = _ends(records, TERMINATED, schema.terminated, last, final, place)
    cut = _ends(records, TRUNCATED, schema.truncated, last, final, place)
    if schema.terminated is not None:
        over = ended
    else:
        over = (~cut if schema.truncated is not None else np.ones(len(last), bool)) & (schema.ends == "terminated")
    whole = over | (not schema.observation and not schema.masked)  # the last row's action and reward can be kept
    length = np.where(final | ~whole, size - 1, size)
    kept = length > 0
    counts.final_rows += int(final.sum())
    counts.dropped_sessions += int((~kept).sum())
    counts.dropped_steps += int((~whole & ~final).sum())
    counts.terminated += int((over & kept).sum())
    counts.truncated += int((~over & kept).sum())
    begins, size, length, over = begins[kept], size[kept], length[kept], over[kept]
    slots = length + 1
    step = np.arange(slots.sum()) - np.repeat(np.cumsum(slots) - slots, slots)
    source = np.repeat(begins, slots) + np.minimum(step, np.repeat(size - 1, slots))
    end = step == np.repeat(length, slots)
    columns = _observations(records, source, imported)
    taken = records["action"][source]  # (slots, M)
    codes = [mapping[taken[:, place]] for place, mapping in enumerate(imported.action_codes)]
    columns["action"] = np.where(end[:, None], 0, np.column_stack(codes))
    columns["reward"] = np.where(end, np.float32(0.0), records["reward"][source])
    columns["by_agent"] = ~end
    chance = records["chance"][source] if "chance" in _fields(records) else np.full(len(source), np.nan, np.float32)
    columns[BEHAVIOUR] = np.where(end, np.float32(np.nan), chance)
    if schema.masked:
        mask = _masks(records, source, imported)  # (slots, M, A)
        there = imported.encoding.action.available
        mask |= (end & np.repeat(over, slots))[:, None, None] & ~mask.any(axis=2, keepdims=True) & there
        allowed = np.take_along_axis(mask, columns["action"][..., None], axis=2)[..., 0]  # (slots, M)
        bad = ~np.where(end[:, None], mask.any(axis=2), allowed).all(axis=1)
        if bad.any():
            row = int(records["row"][source[bad]].min())
            name = schema.mask[0] if isinstance(schema.mask, tuple) else (schema.mask or schema.candidates)
            if mask.shape[1] > 1:
                name = ", ".join(schema.mask or ())
            raise DataError(
                f"{place(row)}, column {name!r}: expected a mask that allows the action taken (or any, at a session's end), "
                "got one that forbids it: check that masks have the order of the actions"
            )
        columns["action_mask"] = mask[:, 0] if mask.shape[1] == 1 else mask
    return Episodes(columns, records["session"][begins].astype(np.int64), length, over, records["row"][source])


def _masks(records: NDArray[Any], source: NDArray[np.int64], imported: Imported) -> NDArray[np.bool_]:
    """What was allowed at each slot; where a row does not say it, everything.  -> (slots, M, A)."""
    action = imported.encoding.action
    found = records["mask"][source]  # the dimensions' masks end to end
    unsaid = records["no_mask"][source].reshape(len(source), -1)  # (slots, M)
    mask = np.zeros((len(source), action.dims, action.actions), np.bool_)
    begin = 0
    for dim, size in enumerate(action.sizes):
        mask[:, dim, :size] = found[:, begin : begin + size] | unsaid[:, dim, None]
        begin += size
    return mask


def _fields(records: NDArray[Any]) -> tuple[str, ...]:
    return records.dtype.names or ()


def _sorted(records: NDArray[Any], rank: NDArray[np.int64], counts: Counts) -> NDArray[Any]:
    """Sort by (rank, order, row of the table); the records are in the order of the table."""
    key = rank[records["session"]]
    if (key[1:] < key[:-1]).any():
        order = stable_order(key)
        records, key = records.take(order), key[order]  # take moves whole records, indexing would move field by field
    if "whole" not in _fields(records):
        return records
    whole, rest = records["whole"], records["rest"]
    back = (key[1:] == key[:-1]) & ((whole[1:] < whole[:-1]) | ((whole[1:] == whole[:-1]) & (rest[1:] < rest[:-1])))
    counts.out_of_order += int(back.sum())
    return records.take(np.lexsort((records["row"], rest, whole, key))) if back.any() else records


def stable_order(key: NDArray[np.int64]) -> NDArray[np.int64]:
    """Same as argsort(kind="stable"), but by 16-bit digits, for which NumPy uses a radix sort.  (N,), N >= 1."""
    rest = key - key.min()
    order = np.argsort(rest.astype(np.uint16), kind="stable")
    shift = 16
    while int(rest.max()) >> shift:
        order = order[np.argsort((rest[order] >> shift).astype(np.uint16), kind="stable")]
        shift += 16
    return order


def _deduplicated(records: NDArray[Any], imported: Imported, counts: Counts) -> NDArray[Any]:
    """Drop rows that repeat an earlier one in every column. Other rows with the same order keep the order of the file."""
    if "whole" not in _fields(records):
        return records
    tied = np.zeros(len(records), bool)  # with the row before
    tied[1:] = records["session"][1:] == records["session"][:-1]
    for name in ("whole", "rest"):
        tied[1:] &= records[name][1:] == records[name][:-1]
    if not tied.any():
        return records
    some = np.flatnonzero(tied | np.append(tied[1:], False))
    values = records[some].copy()
    values["row"] = 0
    # fixed-size byte strings, which are equal if every column is
    whole = np.frombuffer(values.tobytes(), f"S{values.dtype.itemsize}")
    _, earliest, group = np.unique(whole, return_index=True, return_inverse=True)
    first_of = some[earliest[group.reshape(-1)]]
    same = np.zeros(len(records), bool)
    same[some] = first_of != some
    counts.ties += int((tied & ~same).sum())
    if not same.any():
        return records
    counts.duplicates += int(same.sum())
    again = np.flatnonzero(same)
    at = int(again[np.argmin(records["row"][again])])
    pair = int(records["row"][first_of[np.searchsorted(some, at)]]), int(records["row"][at])
    if counts.first_duplicate is None or pair[1] < counts.first_duplicate[1]:
        counts.first_duplicate = (*pair, str(imported.sessions[int(records["session"][at])]))
    return records[~same]


def _check_missing(
    records: NDArray[Any],
    last: NDArray[np.int64],
    action: tuple[str, ...],
    reward: str,
    place: Callable[[int], str],
) -> NDArray[np.bool_]:
    """Return which sessions end with a row without action and reward, (sessions,)."""
    missing = records["action"] < 0  # (rows, M)
    no_action, no_reward = np.asarray(missing.all(axis=1)), (records["flags"] & MISSING) != 0
    within = missing.any(axis=1) | no_reward
    within[last] = (missing.any(axis=1) != no_reward)[last] | (missing.any(axis=1) != no_action)[last]
    if within.any():
        at = int(np.flatnonzero(within)[np.argmin(records["row"][within])])
        column = action[int(missing[at].argmax())] if missing[at].any() else reward
        raise DataError(
            f"{place(int(records['row'][at]))}, column {column!r}: expected a value, got nothing: only the last row of a "
            "session may lack both action and reward; it is then the final observation"
        )
    final: NDArray[np.bool_] = no_action[last]
    return final


def _ends(
    records: NDArray[Any],
    bit: int,
    column: str | None,
    last: NDArray[np.int64],
    final: NDArray[np.bool_],
    place: Callable[[int], str],
) -> NDArray[np.bool_]:
    """Return which sessions have this flag at their last step or final observation, (sessions,)."""
    flag: NDArray[np.bool_] = (records["flags"] & bit) != 0
    if column is None:
        return np.zeros(len(last), bool)
    within = flag.copy()
    within[last] = False
    before = np.maximum(last - 1, 0)[final]
    step = before[records["session"][before] == records["session"][last[final]]]  # the last one with an action
    within[step] = False
    if within.any():
        at = int(np.flatnonzero(within)[np.argmin(records["row"][within])])
        raise DataError(
            f"{place(int(records['row'][at]))}, column {column!r}: the session ends here, but it has rows after this one: "
            "give each episode a session of its own, and check that `order` names the right column"
        )
    found: NDArray[np.bool_] = flag[last]
    found[final] |= flag[before] & (records["session"][before] == records["session"][last[final]])
    return found


def _observations(records: NDArray[Any], source: NDArray[np.int64], imported: Imported) -> dict[str, NDArray[Any]]:
    """Return the leaves, each (slots, *shape)."""
    encoding = imported.encoding
    out: dict[str, NDArray[Any]] = {}
    schema = encoding.schema
    if not schema.observation:
        out[OBSERVATION + CONSTANT] = np.zeros((len(source), 1), np.uint8)
    plain = schema.of_kind("number")
    if plain:
        numbers = records["numbers"][source] - [encoding.offsets.get(name, 0.0) for name in plain]
        marked = [place for place, name in enumerate(plain) if name in encoding.missing]
        out[OBSERVATION + NUMBERS] = _marked(numbers.astype(np.float32), np.isnan(numbers[:, marked]))
    if imported.category_codes:
        codes = records["categories"][source]
        out[OBSERVATION + CATEGORIES] = np.column_stack(
            [mapping[codes[:, place]] for place, mapping in enumerate(imported.category_codes)]
        )
    for name in schema.of_kind("text"):
        out[f"{OBSERVATION}text/{name}"] = records[f"text/{name}"][source]
    for name in schema.of_kind("vector"):
        vectors = records[f"vector/{name}"][source]
        marks = np.isnan(vectors[:, :1]) if name in encoding.missing else np.zeros((len(vectors), 0), bool)
        out[f"{OBSERVATION}vector/{name}"] = _marked(vectors, marks)
    for name in schema.of_kind("entities"):
        out[f"{OBSERVATION}entities/{name}"] = records[f"entities/{name}"][source]
    return out


def _marked(values: NDArray[np.float32], marks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Replace NaN by 0 and append the marks of missing values."""
    return np.concatenate([np.nan_to_num(values, nan=0.0), marks.astype(np.float32)], axis=1)
