"""Text as a sequence of actions: the tokens that an agent reads and writes, one per step.

Token 0 ends a text and token 1 begins it; the others are characters, or byte pairs (`seqel.texts.tokens`). A
pretrained language model has tokens of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

from seqel.errors import ConfigError
from seqel.extras import require
from seqel.pretrained.loading import describe, load_tokenizer
from seqel.pretrained.location import BaseModel, find, use
from seqel.texts.tokens import clean, learn_vocabulary

__all__ = [
    "BEGIN",
    "END",
    "BytePairs",
    "Characters",
    "ModelTokens",
    "Tokenizer",
    "make_tokenizer",
    "tokenizer_from_json",
]

END, BEGIN = 0, 1
SPECIAL = 2
MOST_CHARACTERS = 4_096


class Tokenizer(ABC):
    """Turns texts into tokens and back."""

    size: int  # number of tokens, with those that begin and end a text
    begin: int = BEGIN
    end: int = END

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text, without those that begin and end it."""

    @abstractmethod
    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens; those that begin and end it are left out."""

    def decode_prefixes(self, tokens: Sequence[int]) -> list[str]:
        """Return the text of the first token, of the first two, and so on."""
        return [self.decode(tokens[:end]) for end in range(1, len(tokens) + 1)]

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return what is needed to make this tokenizer again, as plain values."""


class Characters(Tokenizer):
    """One token per character. The last token stands for every other character."""

    UNKNOWN = "\N{REPLACEMENT CHARACTER}"

    def __init__(self, characters: str) -> None:
        """Raises ConfigError if a character occurs twice."""
        if len(set(characters)) != len(characters) or not characters:
            raise ConfigError(f"tokenizer: expected different characters, got {characters!r:.80}")
        self.characters = characters
        self._codes = {one: place + SPECIAL for place, one in enumerate(characters)}
        self.size = SPECIAL + len(characters) + 1

    @classmethod
    def of(cls, texts: Iterable[str]) -> Characters:
        """Make a tokenizer of the characters of these texts, the most frequent 4,096."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(clean(text))
        kept = islice(sorted(counts, key=lambda one: (-counts[one], one)), MOST_CHARACTERS)
        return cls("".join(sorted(kept)))

    def encode(self, text: str) -> list[int]:
        unknown = self.size - 1
        return [self._codes.get(one, unknown) for one in clean(text)]

    def decode(self, tokens: Sequence[int]) -> str:
        known = (*self.characters, self.UNKNOWN)
        return "".join(known[token - SPECIAL] for token in tokens if token >= SPECIAL)

    def decode_prefixes(self, tokens: Sequence[int]) -> list[str]:
        text, lengths = self.decode(tokens), accumulate(int(token >= SPECIAL) for token in tokens)
        return [text[:length] for length in lengths]

    def to_json(self) -> dict[str, Any]:
        return {"tokens": "characters", "characters": self.characters}


class BytePairs(Tokenizer):
    """Byte pairs of a vocabulary that was learned from texts; every text can be written with them."""

    def __init__(self, vocabulary: str) -> None:
        """vocabulary: what `learn_vocabulary` returned. Raises ConfigError if it is not one."""
        tokenizers = require("tokenizers")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(vocabulary)
        except Exception as error:  # tokenizers has no error type of its own
            raise ConfigError(f"tokenizer: expected a vocabulary as JSON, got {vocabulary!r:.80}: {error}") from error
        self.vocabulary = vocabulary
        self.size = SPECIAL + self._tokenizer.get_vocab_size()

    @classmethod
    def of(cls, texts: Iterable[str], size: int) -> BytePairs:
        """Learn a vocabulary of at most `size` tokens from these texts."""
        return cls(learn_vocabulary(texts, size - SPECIAL + 1))

    def encode(self, text: str) -> list[int]:
        return [token + SPECIAL for token in self._tokenizer.encode(clean(text), add_special_tokens=False).ids]

    def decode(self, tokens: Sequence[int]) -> str:
        found: str = self._tokenizer.decode([token - SPECIAL for token in tokens if token >= SPECIAL])
        return found

    def decode_prefixes(self, tokens: Sequence[int]) -> list[str]:
        kept = [token - SPECIAL for token in tokens if token >= SPECIAL]
        lengths = accumulate(int(token >= SPECIAL) for token in tokens)
        texts = ["", *self._tokenizer.decode_batch([kept[:end] for end in range(1, len(kept) + 1)])]
        return [texts[length] for length in lengths]

    def to_json(self) -> dict[str, Any]:
        return {"tokens": "byte pairs", "vocabulary": self.vocabulary}


class ModelTokens(Tokenizer):
    """The tokens of a pretrained language model."""

    def __init__(self, model: BaseModel, path: Path) -> None:
        """Raises ConfigError if the model has no token that ends a text."""
        self.model, self._tokenizer = model, load_tokenizer(path)
        self.size = describe(path).vocabulary
        end = self._tokenizer.eos_token_id
        if end is None:
            raise ConfigError(f"tokenizer: {model.name!r} has no token that ends a text (eos_token)")
        self.end, begin = int(end), self._tokenizer.bos_token_id
        self.begin = self.end if begin is None else int(begin)
        self.padding: int | None = self._tokenizer.pad_token_id

    @classmethod
    def of(cls, name: str) -> ModelTokens:
        """Make the tokenizer of a model that the user names: a folder, a GGUF file or a hub id."""
        return cls(*use(name))

    def encode(self, text: str) -> list[int]:
        found: list[int] = self._tokenizer(clean(text), add_special_tokens=False)["input_ids"]
        return found

    def decode(self, tokens: Sequence[int]) -> str:
        kept = [token for token in tokens if token not in (self.begin, self.end)]
        found: str = self._tokenizer.decode(kept, clean_up_tokenization_spaces=False)
        return found

    def to_json(self) -> dict[str, Any]:
        return {"tokens": "model", "model": self.model.to_json()}


def make_tokenizer(texts: Sequence[str], size: int = 0) -> Tokenizer:
    """Make a tokenizer of these texts: of characters, or with `size` > 0 of as many byte pairs."""
    return BytePairs.of(texts, size) if size else Characters.of(texts)


def tokenizer_from_json(data: Any) -> Tokenizer:
    """Make the tokenizer that an agent has stored.

    Raises ConfigError if `data` is not what a tokenizer stores, or names a model that is not known on this machine.
    """
    if isinstance(data, Mapping):
        if data.get("tokens") == "characters" and isinstance(data.get("characters"), str):
            return Characters(data["characters"])
        if data.get("tokens") == "byte pairs" and isinstance(data.get("vocabulary"), str):
            return BytePairs(data["vocabulary"])
        if data.get("tokens") == "model":
            try:
                model = BaseModel.from_json(data.get("model"))
            except ValueError as error:
                raise ConfigError(f"tokenizer: {error}") from error
            return ModelTokens(model, find(model))
    raise ConfigError(f"tokenizer: expected the description of one, got {data!r:.80}")
