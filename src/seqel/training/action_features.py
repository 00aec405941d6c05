"""Reads the features of the actions, from an array or from a table with one row per action."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqel.errors import ConfigError, DataError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["read_action_features", "settings_for"]

DISTINCT = 64  # largest number of different texts in a column that is read as categories


def read_action_features(given: str | Path | NDArray[Any], names: Sequence[str]) -> Tensor:
    """Return the action features, float32 (A, F), in the order of `names`.

    In a table (CSV or Parquet), the first column holds the action's name. Numeric and yes/no columns are used as they
    are; a text column with at most 64 different values becomes one yes/no column per value. Other actions are ignored.

    Raises:
        DataError: the file cannot be read, an action is missing or appears twice, or a value is missing or not finite.
        ConfigError: an array of another shape. MissingExtraError: the extra `data` is not installed.
    """
    if not isinstance(given, str | Path):
        try:
            array = np.asarray(given, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"action features: expected numbers, got {type(given).__name__}: {error}") from error
        if array.ndim != 2 or len(array) != len(names) or not array.shape[1]:
            raise ConfigError(f"action features: expected [{len(names)}, F], one row each, got {list(array.shape)}")
        return _finite(array, "action features", names)
    table = _table(Path(given))
    key = table.columns[0]
    first = table[key].cast(str).to_list()
    at = {name: row for row, name in enumerate(first)}
    if len(at) < len(first):
        twice = next(name for row, name in enumerate(first) if at[name] != row)
        raise DataError(f"{given}: column {key!r}: expected each action once, got {twice!r} twice")
    missing = [name for name in names if name not in at]
    if missing:
        raise DataError(
            f"{given}: column {key!r}: expected a row for each of the {len(names)} actions; {len(missing)} have none: "
            f"{', '.join(map(repr, missing[:3]))}{', ...' if len(missing) > 3 else ''}"
        )
    rows = table[[at[name] for name in names]]
    columns = [_column(rows[name], f"{given}: column {name!r}") for name in table.columns[1:]]
    if not columns:
        raise DataError(f"{given}: expected at least one column besides {key!r} that describes the actions, got none")
    return _finite(np.concatenate(columns, axis=1), str(given), names)


def settings_for(features: Tensor | None, given: Any, actions: str) -> dict[str, Any]:
    """Return the settings that a network with these features needs."""
    if features is None:
        return {}
    path = {"offline.action_features": str(given)} if isinstance(given, str | Path) else {}
    kind = {} if actions == "items" else {"network.actions": "embedded"}
    return {**kind, "network.action_features": features.shape[1], **path}


def _table(path: Path) -> pl.DataFrame:
    from seqel.datasets.reading.whole import read_whole

    found = read_whole(path, "actions")
    if not found.height:
        raise DataError(f"{path}: expected one row per action, got an empty table")
    return found


def _column(values: pl.Series, where: str) -> NDArray[np.float32]:
    if values.null_count():
        raise DataError(f"{where}: expected a value for every action, got {values.null_count()} missing")
    if values.dtype.is_numeric() or str(values.dtype) == "Boolean":
        numbers: NDArray[np.float32] = values.cast(float).to_numpy().astype(np.float32)
        return numbers[:, None]
    kinds = values.cast(str).unique().sort()
    if len(kinds) > DISTINCT:
        raise DataError(f"{where}: expected numbers, or at most {DISTINCT} different texts, got {len(kinds)} texts")
    one_hot: NDArray[np.bool_] = values.cast(str).to_numpy()[:, None] == kinds.to_numpy()[None]
    return one_hot.astype(np.float32)


def _finite(array: NDArray[np.float32], where: str, names: Sequence[str]) -> Tensor:
    bad = ~np.isfinite(array)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise DataError(
            f"{where}: action {names[row]!r}: expected finite numbers, got {array[row, column]} in column {column}"
        )
    return torch.from_numpy(np.ascontiguousarray(array))
