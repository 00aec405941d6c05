"""Texts, as arrays that a text reader makes of them: hashed trigrams, tokens, or the embedding of a pretrained model."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from seqel.errors import ConfigError, SpaceError
from seqel.spaces.kinds.base import Hint, Keys, ObservationKind, Sketch
from seqel.spaces.leaf import Leaf
from seqel.spaces.text_readers import HASHED, LONGEST_TEXT, TEXT_LENGTH, HashedReader, reader_of

__all__ = ["TextKind"]


class TextKind(ObservationKind):
    """A text. A space says nothing about readers: `ObservationSpec.with_text_reader` replaces the hashed trigrams."""

    name = "text"
    reads = HashedReader.reads
    hints = "N, the bytes of a text to read"

    def match(self, space: spaces.Space[Any], path: str, keys: Keys, hint: Hint | None) -> Leaf | None:
        # MiniGrid has a space of its own
        if not isinstance(space, spaces.Text) and getattr(space.dtype, "kind", "") != "U":
            return None
        length = TEXT_LENGTH if hint is None else hint
        if not isinstance(length, int) or isinstance(length, bool) or not 1 <= length <= LONGEST_TEXT:
            raise ConfigError(
                f"observation {path!r}: expected how many bytes of a text to read, from 1 to {LONGEST_TEXT}, got {hint!r}"
            )
        return HashedReader(length).leaf(path, keys)

    def read(self, leaf: Leaf, value: Any, batch: int | None) -> NDArray[Any]:
        texts = [value] if batch is None else list(value)
        if (batch is not None and len(texts) != batch) or not all(isinstance(text, str) for text in texts):
            wanted = "a text" if batch is None else f"{batch} texts"
            raise SpaceError(f"observation {leaf.path!r}: expected {wanted}, got {value!r:.80}")
        found = reader_of(leaf).read(texts)
        return found[0] if batch is None else found

    def hint(self, leaf: Leaf) -> Hint | None:
        return None if leaf.reader != HASHED or leaf.shape[0] == TEXT_LENGTH else leaf.shape[0]

    def is_single(self, leaf: Leaf, value: Any) -> bool:
        return isinstance(value, str)

    lacks_batch_axis = is_single

    def sketcher(self, leaf: Leaf, rng: np.random.Generator) -> Sketch:
        """The codes themselves; of an embedding, the bits of its numbers, so that equal texts are equal."""
        if leaf.dtype != "float32":
            return super().sketcher(leaf, rng)
        return lambda x, normalise: np.ascontiguousarray(x).view(np.int32).astype(np.int64)
