"""The text reader of a run on disk: a resumed run must read texts as it did before, with the same vocabulary or model."""

from __future__ import annotations

from pathlib import Path

from seqel.errors import CheckpointError, ConfigError, SeqelError
from seqel.integrity import read_sealed, require_own, sealed_line
from seqel.spaces.text_readers import TextReader
from seqel.storage import atomic_write
from seqel.texts.embeddings import Embed
from seqel.texts.make import reader_from_json

__all__ = ["load_reader", "save_reader"]

FILE = "text-reader.json"


def save_reader(folder: Path, reader: TextReader | None) -> None:
    """Write the reader of a new run; hashed trigrams (None) need no file. Raises StorageError if it cannot be written."""
    if reader is not None:
        atomic_write(folder / FILE, sealed_line(reader.to_json()) + "\n")


def load_reader(folder: Path, embed: Embed | None = None) -> TextReader | None:
    """Return the reader of a run, None for hashed trigrams. `embed`: the function, if it reads by one.

    Raises:
        CheckpointError: the file is damaged. ConfigError: the model or the function that it needs is not there.
    """
    path = folder / FILE
    require_own(path, folder)
    if not path.exists():
        return None
    try:
        found, _, _ = read_sealed(path.read_bytes())
        return reader_from_json(found[0], embed)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except (OSError, LookupError, ValueError, TypeError, SeqelError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
