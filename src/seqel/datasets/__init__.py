"""Tables of recorded episodes: a schema, a strict import, and a store that opens without being read as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqel import lazy

if TYPE_CHECKING:
    from seqel.datasets.dataset import Dataset, load
    from seqel.datasets.encoding import Encoding
    from seqel.datasets.minari import load_minari
    from seqel.datasets.schema import Schema

__all__ = [
    "Dataset",
    "Encoding",
    "Schema",
    "load",
    "load_minari",
]

__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "Dataset": "seqel.datasets.dataset",
        "Encoding": "seqel.datasets.encoding",
        "Schema": "seqel.datasets.schema",
        "load": "seqel.datasets.dataset",
        "load_minari": "seqel.datasets.minari",
    },
)
