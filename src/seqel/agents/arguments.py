"""Reads and checks the arguments of `Agent.act`, on the CPU: they are a few numbers for each row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.action_masks import read_action_mask, require_some
from seqel.errors import ConfigError, SpaceError
from seqel.spaces import ActionSpec, FlatObservation, ObservationSpec

__all__ = ["read_candidates", "read_mask", "read_observation", "read_previous_action", "read_row_values", "read_rows"]


def read_observation(observation: Any, spec: ObservationSpec, rows: int) -> FlatObservation:
    """Flatten a batch of R observations as the environment gives it; one that is flat already stays as it is.

    Raises:
        SpaceError: it does not fit the spec, or has another number of rows.
    """
    flat = observation if isinstance(observation, FlatObservation) else spec.flatten(observation, rows)
    for path, leaf in flat.items():
        if len(leaf) != rows:
            raise SpaceError(f"observation {path!r}: expected {rows} rows, got {len(leaf)}")
    return flat


def read_rows(rows: Any, size: int | None) -> NDArray[np.int64]:
    """Return which rows of a state of `size` rows are meant (None: there is no state).  -> (R,).

    Raises:
        SpaceError: there is no state, or they are no distinct numbers of its rows.
    """
    index = np.asarray(rows)
    if size is None:
        raise SpaceError("rows: expected a state together with rows, got None; `initial_state(batch)` creates one")
    whole = index.ndim == 1 and (np.issubdtype(index.dtype, np.integer) or index.size == 0)
    if not whole or (index < 0).any() or (index >= size).any():
        raise SpaceError(f"rows: expected numbers from 0 to {size - 1}, got {index.tolist()}")
    if len(np.unique(index)) != len(index):
        raise SpaceError(f"rows: expected each row at most once, got {index.tolist()}")
    return index.astype(np.int64)


def read_row_values(name: str, value: Any, dtype: type[np.generic], rows: int) -> NDArray[Any]:
    """Return one number for each row; a single number counts for all.  -> (R,).

    Raises:
        SpaceError: it is anything else.
    """
    array = _numbers(value).astype(dtype, copy=False)
    if array.ndim == 0:
        return np.full(rows, array)
    if array.shape != (rows,):
        raise SpaceError(f"{name}: expected [{rows}], got {list(array.shape)}")
    return array


def read_previous_action(action: Any, spec: ActionSpec, rows: int) -> NDArray[np.int64]:
    """Return previous actions, counted from 0.  (R,) or (R, M) -> (R, M).

    Raises:
        SpaceError: they are not actions of the action space, one for each row.
    """
    given = _numbers(action)
    if given.size != rows * spec.dims:
        raise SpaceError(f"previous_action: expected {[rows, spec.dims]}, got {list(given.shape)}")
    code = given.reshape(rows, -1) - spec.start
    if (code < 0).any() or (code >= spec.sizes).any():
        raise SpaceError(f"previous_action: expected actions of the action space, got {given.tolist()}")
    return code.astype(np.int64, copy=False)


def read_mask(mask: Any, spec: ActionSpec, rows: int) -> NDArray[np.bool_]:
    """Return an action mask with all axes, (R, M, A).

    Raises:
        SpaceError: it is none (see `seqel.action_masks`), or allows no action in some row.
    """
    allowed = read_action_mask(mask, spec, rows)
    require_some(allowed, spec)
    return allowed.reshape(rows, spec.dims, -1)


def read_candidates(candidates: Any, spec: ActionSpec, rows: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the candidates' numbers, counted from 0 (R, C), and which of them are no padding (R, 1, C).

    Raises:
        SpaceError: they are not actions of the action space, or a row has none.
        ConfigError: there are several action dimensions.
    """
    if spec.dims > 1:
        raise ConfigError(
            f"candidates: expected one action dimension, this agent has {spec.dims}. Use a mask: it costs "
            "little where actions are a sum of a few dimensions"
        )
    given = np.asarray(candidates)
    if given.ndim != 2 or len(given) != rows or not np.issubdtype(given.dtype, np.integer):
        raise SpaceError(f"candidates: expected integers [{rows}, C], got {list(given.shape)} {given.dtype}")
    codes, there = given - spec.start[0], given != -1
    if (there & ((codes < 0) | (codes >= spec.actions))).any():
        raise SpaceError(f"candidates: expected actions of the action space or -1, got {given.tolist()!s:.200}")
    if not there.any(axis=1).all():
        raise SpaceError(f"candidates: rows {np.flatnonzero(~there.any(axis=1)).tolist()} have none")
    return np.where(there, codes, 0).astype(np.int64), there[:, None]


def _numbers(value: Any) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:  # ragged
        raise SpaceError(f"expected numbers, got {value!r:.80}") from error
    if array.dtype.kind not in "biuf":
        raise SpaceError(f"expected numbers, got {value!r:.80}")
    return array
