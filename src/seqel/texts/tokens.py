"""Tokens of a vocabulary that is learned from the run's own texts: byte-level byte-pair encoding.

Sennrich et al. 2016, arXiv:1508.07909; over bytes (Radford et al. 2019), so that every text can be encoded and none is
"unknown". The library `tokenizers` learns and applies the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqel.errors import ConfigError
from seqel.extras import require
from seqel.texts.remembering import RememberingReader

__all__ = ["BYTES", "PADDING", "TokenReader", "clean", "learn_vocabulary"]

PADDING = 0  # code of no token; the vocabulary's tokens count from 1
BYTES = 16  # per token; no more of a text is given to the tokenizer, which would spend time on what is not read


def learn_vocabulary(texts: Iterable[str], size: int) -> str:
    """Learn a byte-level vocabulary of at most `size` tokens and return it as the JSON of a tokenizer.

    The same texts in the same order give the same vocabulary.
    """
    tokenizers = require("tokenizers")
    from tokenizers import decoders, models, pre_tokenizers, trainers

    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - 1, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(map(clean, texts), trainer)
    found: str = tokenizer.to_str()
    return found


class TokenReader(RememberingReader):
    """The first `length` tokens of a text, as codes; 0 is padding."""

    def __init__(self, vocabulary: str, length: int) -> None:
        """vocabulary: what `learn_vocabulary` returned. Raises ConfigError if it is not one."""
        super().__init__()
        tokenizers = require("tokenizers")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(vocabulary)
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
        except Exception as error:  # tokenizers has no error type of its own
            raise ConfigError(
                f"expected the vocabulary of a tokenizer as JSON, got {vocabulary!r:.80}: {error}"
            ) from error
        size = self._tokenizer.get_vocab_size() + 1
        self.vocabulary, self.shape = vocabulary, (length,)
        self.dtype, self.sizes = ("int16" if size <= 1 << 15 else "int32"), (size,)
        self.name = f"tokens-{length}-{sha256(vocabulary.encode()).hexdigest()[:16]}"
        self.reads = f"text, as its first {length} tokens of a vocabulary of {size - 1:,}"

    def encode(self, texts: Sequence[str]) -> NDArray[Any]:
        length = self.shape[0]
        out = np.full((len(texts), length), PADDING, self.dtype)
        heads = [clean(text[: BYTES * length]) for text in texts]
        for row, found in zip(out, self._tokenizer.encode_batch_fast(heads, add_special_tokens=False), strict=True):
            codes = found.ids[:length]
            row[: len(codes)] = np.asarray(codes) + 1
        return out

    def unread(self, text: str) -> int:
        text = clean(text)
        found = self._tokenizer.encode(text, add_special_tokens=False)
        if len(found.ids) <= self.shape[0]:
            return 0
        return len(text[found.offsets[self.shape[0] - 1][1] :].encode("utf-8"))

    def to_json(self) -> dict[str, Any]:
        return {"encoder": "tokens", "vocabulary": self.vocabulary, "length": self.shape[0]}


def clean(text: str) -> str:
    """Replace what UTF-8 cannot hold (lone surrogates), which libraries written in other languages refuse."""
    return text.encode("utf-8", errors="replace").decode("utf-8")
