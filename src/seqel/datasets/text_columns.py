"""The texts of a table: how its text columns are read, and a sample of them to learn a vocabulary from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seqel.datasets.hashing import hash_texts
from seqel.spaces.text_readers import HashedReader, TextReader, reader_from_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from polars import Series

    from seqel.datasets.reading.table import Table
    from seqel.datasets.schema import Schema

__all__ = ["read_texts", "sample_texts", "text_reader"]

SAMPLE = 64 << 20  # bytes of text that a vocabulary is learned from; more hardly changes it


def text_reader(name: str, schema: Schema) -> TextReader:
    """Return the reader of a table's text columns by its name. Raises SpaceError if it is not loaded."""
    return reader_from_name(name) if name else HashedReader(schema.text_length)


def read_texts(texts: Series, reader: TextReader) -> NDArray[Any]:
    """Read the texts of one column; a missing one counts as empty.  -> (N, *shape)."""
    if isinstance(reader, HashedReader):
        return hash_texts(texts, reader.shape[0])
    return reader.read(texts.fill_null("").to_list())


def sample_texts(table: Table, schema: Schema) -> Iterator[str]:
    """Yield the texts at the beginning of a table, all text columns alike."""
    columns, read = schema.of_kind("text"), 0
    for batch in table.batches(dict.fromkeys(columns, "text")):
        for column in columns:
            for text in batch.rows[column].drop_nulls().cast(str):
                read += len(text)
                yield text
        if read > SAMPLE:
            return
