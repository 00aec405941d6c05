"""From what a user names (tables and a schema, a Minari id, sessions in memory) to sessions to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from seqel.errors import ConfigError
from seqel.training.offline_session import Source

__all__ = ["Data", "named", "open_source"]

Data = str | Path | Sequence[str | Path] | Source


def named(data: Data) -> tuple[str, ...] | None:
    """The files (or the id) as a config holds them; None for sessions in memory."""
    if isinstance(data, str | Path):
        return (str(data),)
    if isinstance(data, Sequence):
        return tuple(str(one) for one in data)
    return None


def open_source(data: Data, schema: str | Path | None) -> Source:
    """Read it, or take it as it is.

    Raises:
        ConfigError: no schema for tables, or one for what needs none. DataError: what is wrong with the data.
        MissingExtraError: the extra `data` is not installed.
    """
    files = named(data)
    if files is None:
        return cast(Source, data)
    if not files:
        raise ConfigError("data: expected at least one file, or a Minari dataset's id")
    if len(files) == 1 and not Path(files[0]).exists() and not Path(files[0]).suffix:
        from seqel.datasets.minari import load_minari

        if schema:
            raise ConfigError(f"schema: {files[0]!r} is a Minari dataset, which says itself what it holds")
        return load_minari(files[0])
    if not schema:
        raise ConfigError(
            f"schema: expected the TOML file that says what the columns are; `seqel data check {files[0]} --write "
            "schema.toml` proposes one"
        )
    from seqel.datasets.dataset import load
    from seqel.datasets.schema import Schema

    return load(list(files), Schema.load(Path(schema)))
