from __future__ import annotations

import json

import numpy as np
import pytest

from seqel.errors import ConfigError
from seqel.texts.tokens import PADDING, TokenReader, learn_vocabulary

TEXTS = ["the bank closed my card", "my card is blocked", "please unblock the card", "银行卡丢了"] * 3
HARD = ["", "x" * 100_000, "🎉 party", "银行", "\x00\x01\x7f", "\ud800 lone surrogate", " \t\n "]


@pytest.fixture(scope="module")
def vocabulary() -> str:
    return learn_vocabulary(TEXTS, 300)


def decoded(reader: TokenReader, codes: np.ndarray) -> str:
    from tokenizers import Tokenizer

    return str(Tokenizer.from_str(reader.vocabulary).decode([int(code) - 1 for code in codes if code != PADDING]))


def test_the_same_texts_give_the_same_vocabulary(vocabulary: str) -> None:
    assert learn_vocabulary(TEXTS, 300) == vocabulary
    assert len(json.loads(vocabulary)["model"]["vocab"]) <= 299


def test_codes_hold_the_whole_text(vocabulary: str) -> None:
    reader = TokenReader(vocabulary, 32)
    for text in [*TEXTS[:4], "new words, 新字 🎉"]:
        assert decoded(reader, reader.read([text])[0]) == text
        assert reader.unread(text) == 0


def test_frequent_words_are_few_tokens(vocabulary: str) -> None:
    reader = TokenReader(vocabulary, 32)
    known, unknown = (np.count_nonzero(reader.read([text])) for text in ("my card", "xq zvwk"))
    assert known <= 3 < unknown


def test_every_text_is_read(vocabulary: str) -> None:
    reader = TokenReader(vocabulary, 8)
    codes = reader.read(HARD)
    assert codes.shape == (len(HARD), 8) and codes.dtype == np.dtype(reader.dtype)
    assert codes.min() >= 0 and codes.max() < reader.sizes[0]
    assert not codes[0].any()  # the empty text is all padding
    assert all(row.any() for row in codes[1:])
    assert reader.read([]).shape == (0, 8)


def test_the_share_that_is_not_read_is_counted_in_bytes(vocabulary: str) -> None:
    reader = TokenReader(vocabulary, 8)
    text = "qzj " * 10
    head = decoded(reader, reader.read([text])[0])
    assert text.startswith(head) and reader.unread(text) == len(text) - len(head) > 0


def test_names_of_different_vocabularies_or_lengths_differ(vocabulary: str) -> None:
    other = learn_vocabulary(["something else entirely"], 280)
    names = {TokenReader(one, length).name for one in (vocabulary, other) for length in (8, 16)}
    assert len(names) == 4


@pytest.mark.parametrize("bad", ["", "{}", "not JSON", "[1, 2]"])
def test_a_vocabulary_that_is_none_is_refused(bad: str) -> None:
    with pytest.raises(ConfigError, match="expected the vocabulary of a tokenizer"):
        TokenReader(bad, 8)
