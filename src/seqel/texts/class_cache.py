"""Keeps fitted classifiers of texts in the user's cache folder, so that they are not fitted again in each process.

With 10,000 texts of 77 classes, fitting takes a minute, and a conversation should begin at once.
"""

from __future__ import annotations

import json
from contextlib import suppress
from hashlib import sha256

import numpy as np

from seqel.errors import StorageError
from seqel.spaces.text_readers import TextReader
from seqel.storage import atomic_write, cache_folder
from seqel.texts.classes import ClassReader, LabelledTexts, fit_classes

__all__ = ["fit_classes_once"]

VERSION = 1  # of how classifiers are fitted; another one fits again


def fit_classes_once(base: TextReader, labelled: LabelledTexts) -> ClassReader:
    """Return what `fit_classes` does, from the cache if the same texts were fitted on the same encoder before.

    A cached file that is damaged is fitted again and replaced. If the cache cannot be written, nothing is kept.

    base: its name must change with its weights, as that of a pretrained encoder does. Raises as `fit_classes`.
    """
    path = cache_folder("classifiers") / f"{_key(base, labelled)}.json"
    try:
        stored = json.loads(path.read_bytes())
        kept = ClassReader.from_json(base, stored)
        if stored["names"] == list(labelled.names) and stored["name"] == kept.name:  # a checksum of the weights
            return kept
    except (OSError, ValueError, TypeError, LookupError):
        pass  # not there, or damaged
    found = fit_classes(base, labelled)
    with suppress(StorageError):
        atomic_write(path, json.dumps(found.to_json() | {"name": found.name}))
    return found


def _key(base: TextReader, labelled: LabelledTexts) -> str:
    """Return a checksum of everything that the classifiers depend on."""
    digest = sha256(f"{VERSION} {base.name}".encode())
    for texts, labels in (labelled.train, labelled.validation):
        digest.update(json.dumps([list(labelled.names), list(texts)]).encode())
        digest.update(np.asarray(labels, np.int64).tobytes())
    return digest.hexdigest()[:32]
