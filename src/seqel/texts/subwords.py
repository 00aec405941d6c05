"""Texts as the codes of a pretrained model's tokenizer, for a model that is trained further."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.pretrained.adapted import Tuning
from seqel.pretrained.loading import describe, load_tokenizer
from seqel.pretrained.location import BaseModel
from seqel.texts.remembering import RememberingReader
from seqel.texts.tokens import BYTES, PADDING, clean

__all__ = ["SubwordReader", "Subwords"]


class Subwords:
    """A pretrained tokenizer that gives at most `length` tokens, with the special tokens that its model expects."""

    def __init__(self, path: Path, length: int) -> None:
        self.tokenizer = load_tokenizer(path)
        self.length = min(length, describe(path).positions or length)

    def codes(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text."""
        if not texts:
            return []
        heads = [clean(text[: BYTES * self.length]) for text in texts]
        found = self.tokenizer(heads, truncation=True, max_length=self.length, padding=False)
        codes: list[list[int]] = found["input_ids"]
        return codes

    def unread(self, text: str) -> int:
        """Return how many bytes at the end of a text are not read."""
        text = clean(text)
        found = self.tokenizer(text, truncation=True, max_length=self.length, return_offsets_mapping=True)
        end = max((end for _, end in found["offset_mapping"]), default=0)
        return len(text[end:].strip().encode("utf-8"))


class SubwordReader(RememberingReader):
    """Reads a text as codes, one more than the tokenizer's; 0 is padding.  (length,) int32."""

    dtype = "int32"

    def __init__(self, model: BaseModel, subwords: Subwords, tuning: Tuning) -> None:
        super().__init__()
        self.model, self.tuning, self._subwords = model, tuning, subwords
        self.shape, self.sizes = (subwords.length,), (len(subwords.tokenizer) + 1,)
        detail = {"lora": f"lora{tuning.rank}", "prefix": f"prefix{tuning.prefix}"}.get(tuning.kind, tuning.kind)
        self.name = f"{detail}-{subwords.length}-{model.checksum[:16]}"
        self.reads = f"text, as its first {subwords.length} tokens, encoded by {model.name} ({tuning.kind})"

    def encode(self, texts: Sequence[str]) -> NDArray[np.int32]:
        out = np.full((len(texts), *self.shape), PADDING, np.int32)
        for row, codes in zip(out, self._subwords.codes(texts), strict=True):
            row[: len(codes)] = np.asarray(codes) + 1
        return out

    def unread(self, text: str) -> int:
        return self._subwords.unread(text)

    def to_json(self) -> dict[str, Any]:
        return {
            "encoder": "pretrained", "model": self.model.to_json(), "tuning": self.tuning.kind, "rank": self.tuning.rank,
            "prefix": self.tuning.prefix, "length": self.shape[0],
        }  # fmt: skip
