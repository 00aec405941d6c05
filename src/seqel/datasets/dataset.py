"""Recorded sessions, ready for training: `load` imports a table once; later calls open the imported store."""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seqel.datasets import store
from seqel.datasets.encoding import Encoding
from seqel.datasets.hashing import splitmix64
from seqel.datasets.reading.readers import open_source
from seqel.datasets.reading.table import expand
from seqel.errors import DataError, SeqelError
from seqel.spaces.text_readers import HASHED, TextReader, is_registered, register
from seqel.storage import cache_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from seqel.datasets.schema import Schema
    from seqel.replay.episode_buffer import EpisodeBuffer
    from seqel.spaces import ActionSpec, ObservationSpec
    from seqel.texts.config import TextConfig

__all__ = ["Dataset", "StoreWarning", "load"]


class StoreWarning(UserWarning):
    """The imported copy of a table was damaged and is imported again."""


@dataclass(frozen=True)
class Dataset:
    """Recorded episodes, their spaces, and the encoding of the table they were imported from."""

    buffer: EpisodeBuffer
    observation: ObservationSpec
    action: ActionSpec
    actions: list[str]  # names, by code; of the first action column if there are several (`encoding.names` has all)
    hashes: NDArray[np.uint64]  # (episodes,) of the sessions' names; `split` uses them
    names: Callable[[], list[str]]
    encoding: Encoding | None = None  # None: not from a table, so there are no raw rows to encode
    report: dict[str, Any] = field(default_factory=dict)  # what the import found
    directory: Path | None = None  # folder of the store

    @property
    def schema(self) -> Schema | None:
        """The schema of the table; None if the dataset is not from a table."""
        return None if self.encoding is None else self.encoding.schema

    @cached_property
    def sessions(self) -> list[str]:
        """The name of each episode's session, in the order of the rows."""
        return self.names()

    def __len__(self) -> int:
        """Return the number of transitions."""
        return len(self.buffer)

    def __repr__(self) -> str:
        leaves = ", ".join(map(str, self.observation.leaves))
        size = f"{len(self):,} transitions of {self.buffer.episodes:,} sessions"
        return f"Dataset({size}; {self.action} actions; {leaves})"

    def split(self, held_out: float = 0.1, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Split into training episodes and held-out episodes, as rows for `only`; neither is empty.

        The hash of the session's name decides, so a session stays in its part whatever the order of the rows, and
        whichever sessions are added.

        Raises:
            DataError: held_out is not between 0 and 1, or there is a single session.
        """
        if not 0.0 < held_out < 1.0:
            raise DataError(f"expected held_out between 0 and 1, got {held_out}")
        episodes = self.buffer.episodes
        if episodes < 2:
            raise DataError(
                f"expected at least two sessions, one of them to hold out, got {episodes}: record more, or train without "
                "held-out sessions"
            )
        draw, held = self._draws(held_out, seed)
        if not held.any():
            held[draw.argmin()] = True
        if held.all():
            held[draw.argmax()] = False
        return np.flatnonzero(~held), np.flatnonzero(held)

    def held_out_rows(self, held_out: float, seed: int) -> NDArray[np.int64]:
        """Return the rows of the held-out sessions, which an agent trained on `split` has not seen; may be empty."""
        return np.flatnonzero(self._draws(held_out, seed)[1])

    def subset(self, rows: NDArray[np.int64]) -> Dataset:
        """Return a dataset of some of the sessions. Raises DataError if `rows` is empty."""
        part = self.buffer.subset(rows)
        return replace(self, buffer=part, hashes=self.hashes[rows], names=lambda: [self.sessions[n] for n in rows])

    def _draws(self, held_out: float, seed: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return a number between 0 and 1 for each session, from its name, and whether the session is held out."""
        draw = splitmix64(self.hashes, seed + 1).astype(np.float64) / 2.0**64
        return draw, draw < held_out


def load(
    files: str | Path | Sequence[str | Path],
    schema: Schema | str | Path,
    cache: Path | None = None,
    *,
    duplicates: str = "refuse",
    progress: Callable[[float], None] | None = None,
    text: TextConfig | TextReader | None = None,
) -> Dataset:
    """Read a table (a file, several files, or a pattern) as episodes.

    The first call imports the table into a store in `cache`. Later calls open that store, unless a file or the schema
    has changed.

    Args:
        files: CSV, JSON lines (both also gzipped) or Parquet.
        schema: a `Schema`, or the path of the TOML file that holds one.
        cache: folder of the store; None: `.seqel` beside the first file, or ~/.cache/seqel/datasets if that folder is not
            writable.
        duplicates: "refuse" rows that equal another row in every column that the schema names, or keep the "first" of
            them. Rows with the same order but other values keep the order of the file.
        text: how text columns are read: settings, or the reader of an agent (`agent.text_reader`); None: as hashed trigrams.
        progress: called during the import with the completed fraction, 0 to 1.

    Raises:
        ConfigError: the schema is missing, invalid or contradictory.
        DataError: a file or a row does not match the schema; names file, line and column.
        StorageError: the store cannot be written.
        MissingExtraError: polars is needed and not installed.
    """
    if duplicates not in ("refuse", "first"):
        raise DataError(f'expected duplicates = "refuse" or "first", got {duplicates!r}')
    if isinstance(schema, str | Path):
        from seqel.datasets.schema import Schema as SchemaClass

        schema = SchemaClass.load(Path(schema))
    paths = [path.absolute() for path in expand(files)]
    for path in paths:
        if not path.is_file():
            open_source(path)  # raises an error that says what is wrong
    made_from = {
        "files": [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in paths],
        "schema": schema.digest,
    }
    identity: list[Any] = [[str(path) for path in paths], schema.digest]
    text, described = _text(text)
    if described is not None and schema.of_kind("text"):
        made_from["text"] = described
        identity.append(described)
    name = sha256(json.dumps(identity).encode()).hexdigest()[:16]
    directory = _cache(paths[0], cache) / f"{paths[0].name.split('.')[0]}-{name}"
    found = _open(directory, made_from)
    if found is None:
        store.build(directory, paths, schema, made_from, progress, text)
        found = _open(directory, made_from)
        if found is None:
            raise DataError(f"{directory}: the store could not be read back after it was written")
    report = found.report
    if report["duplicates"] and duplicates == "refuse":
        raise DataError(
            f"{report['first_duplicate']}: both are equal in every column, including {schema.order!r}, but a session needs "
            f"each step once ({report['duplicates']:,} such rows in total): remove them from the file"
        )
    return found


def _text(text: TextConfig | TextReader | None) -> tuple[TextConfig | TextReader | None, Any]:
    """Return how texts are read, as a reader unless that has to be learned from the table, and what identifies it."""
    if text is None or isinstance(text, TextReader):
        return text, None if text is None or text.name == HASHED else text.name
    if text.encoder == "tokens":
        return text, {"encoder": "tokens", "vocabulary": text.vocabulary, "length": text.tokens}
    from seqel.texts.make import make_reader  # imports torch

    return _text(make_reader(text))


def _open(directory: Path, made_from: dict[str, Any]) -> Dataset | None:
    """Open an intact store that was made from exactly this. Return None if there is none or, with a warning, if damaged."""
    try:
        meta = store.read_meta(directory, made_from)
        return None if meta is None else open_store(directory, meta)
    except (SeqelError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:300]
        warnings.warn(
            f"{directory}: the imported copy of the table is damaged ({reason}); it is imported again from the table",
            StoreWarning,
            stacklevel=3,
        )
        return None


def open_store(directory: Path, meta: dict[str, Any]) -> Dataset:
    """Open the dataset of a store; its files are mapped into memory."""
    from seqel.replay.episode_buffer import EpisodeBuffer

    encoding = Encoding.from_json(json.loads((directory / store.ENCODING).read_text(encoding="utf-8")))
    if encoding.reader and not is_registered(encoding.reader):
        from seqel.texts.make import reader_from_json  # imports torch

        register(reader_from_json(json.loads((directory / store.READER).read_text(encoding="utf-8"))))
    recorded = EpisodeBuffer(
        store.layout_of(encoding),
        store.open_columns(directory, meta),
        _episodes(directory, meta["slots"], encoding.action.dims),
    )
    return Dataset(
        recorded, encoding.observation, encoding.action, list(encoding.actions), np.load(directory / "hashes.npy"),
        lambda: _names(directory), encoding, meta["report"], directory,
    )  # fmt: skip


def _episodes(directory: Path, slots: int, dims: int) -> NDArray[np.int64]:
    """Read where each episode is stored. Raises DataError if one reaches beyond the stored slots."""
    numbers: NDArray[np.int64] = np.load(directory / "episodes.npy")
    begin, length = numbers[:, 0], numbers[:, 1]
    if numbers.shape[1] != 4 + dims or begin.min() < 0 or length.min() < 1 or int((begin + length).max()) >= slots:
        raise DataError(f"episodes.npy: expected episodes within the {slots:,} slots that are stored")
    return numbers


def _names(directory: Path) -> list[str]:
    data, ends = (directory / "names.bin").read_bytes(), np.load(directory / "name_ends.npy").tolist()
    return [data[begin:end].decode() for begin, end in zip([0, *ends[:-1]], ends, strict=True)]


def _cache(file: Path, given: Path | None) -> Path:
    if given is not None:
        return given.absolute()
    beside = file.parent / ".seqel"
    if os.access(beside if beside.exists() else file.parent, os.W_OK | os.X_OK):
        return beside
    return cache_folder("datasets")
