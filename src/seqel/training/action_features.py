"""What is known of the actions: an array, or a table with a row an action, as the numbers that an action is scored by."""

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

DISTINCT = 64  # texts that a column may have to be read as categories


def read_action_features(given: str | Path | NDArray[Any], names: Sequence[str]) -> Tensor:
    """(A, F) float32, in the order of `names`.

    A table (CSV or Parquet) has the action's name in its first column; columns of numbers and of yes/no are taken as they
    are, texts of at most 64 kinds become a yes/no column a kind. Rows of other actions are left out.

    Raises:
        DataError: the file cannot be read, an action is missing or stands there twice, a value is missing or not finite.
        ConfigError: an array of another shape. MissingExtraError: the extra `data` is not installed.
    """
    if not isinstance(given, str | Path):
        try:
            array = np.asarray(given, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"action features: expected numbers, got {type(given).__name__}: {error}") from error
        if array.ndim != 2 or len(array) != len(names) or not array.shape[1]:
            raise ConfigError(f"action features: expected [{len(names)}, F], a row an action, got {list(array.shape)}")
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
        raise DataError(f"{given}: expected columns beside {key!r} that describe the actions, got none")
    return _finite(np.concatenate(columns, axis=1), str(given), names)


def settings_for(features: Tensor | None, given: Any) -> dict[str, Any]:
    """The settings that a network with these features needs."""
    if features is None:
        return {}
    path = {"offline.action_features": str(given)} if isinstance(given, str | Path) else {}
    return {"network.actions": "embedded", "network.action_features": features.shape[1], **path}


def _table(path: Path) -> pl.DataFrame:
    from seqel.extras import require

    pl_ = require("polars")
    try:
        found: pl.DataFrame = pl_.read_parquet(path) if path.suffix == ".parquet" else pl_.read_csv(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, pl_.exceptions.PolarsError) as error:
        raise DataError(f"{path}: expected a table of actions (CSV or Parquet), but {error}") from error
    if not found.height:
        raise DataError(f"{path}: expected a row an action, got none")
    return found


def _column(values: pl.Series, where: str) -> NDArray[np.float32]:
    if values.null_count():
        raise DataError(f"{where}: expected a value for every action, got {values.null_count()} missing")
    if values.dtype.is_numeric() or str(values.dtype) == "Boolean":
        numbers: NDArray[np.float32] = values.cast(float).to_numpy().astype(np.float32)
        return numbers[:, None]
    kinds = values.cast(str).unique().sort()
    if len(kinds) > DISTINCT:
        raise DataError(f"{where}: expected numbers, or at most {DISTINCT} different texts, got {len(kinds)}")
    one_hot: NDArray[np.bool_] = values.cast(str).to_numpy()[:, None] == kinds.to_numpy()[None]
    return one_hot.astype(np.float32)


def _finite(array: NDArray[np.float32], where: str, names: Sequence[str]) -> Tensor:
    bad = ~np.isfinite(array)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise DataError(
            f"{where}: action {names[row]!r}: expected finite numbers, got {array[row, column]} at {column}"
        )
    return torch.from_numpy(np.ascontiguousarray(array))
