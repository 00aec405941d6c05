from __future__ import annotations

from typing import Any

import pytest

from seqel.errors import ConfigError
from seqel.language.tokenizer import BEGIN, END, BytePairs, Characters, make_tokenizer, tokenizer_from_json

TEXTS = ["to be, or not to be", "that is the question", "生存还是毁灭"]


@pytest.mark.parametrize("size", [0, 300])
def test_texts_come_back(size: int) -> None:
    tokenizer = make_tokenizer(TEXTS, size)
    for text in [*TEXTS, "", "not that"]:
        tokens = tokenizer.encode(text)
        assert tokenizer.decode([BEGIN, *tokens, END]) == text
        assert all(END != token != BEGIN and token < tokenizer.size for token in tokens)
    whole = [BEGIN, *tokenizer.encode("a 生 ?"), END]
    assert tokenizer.decode_prefixes(whole) == [tokenizer.decode(whole[: end + 1]) for end in range(len(whole))]
    again = tokenizer_from_json(tokenizer.to_json())
    assert (again.size, again.encode(TEXTS[0])) == (tokenizer.size, tokenizer.encode(TEXTS[0]))


def test_a_character_that_was_not_there_is_marked() -> None:
    tokenizer = Characters.of(["abc"])
    assert tokenizer.decode(tokenizer.encode("aXc")) == f"a{Characters.UNKNOWN}c"
    assert BytePairs.of(["abc"], 300).decode(BytePairs.of(["abc"], 300).encode("🎉 X")) == "🎉 X"


def test_characters_are_one_token_each_and_byte_pairs_fewer() -> None:
    text = TEXTS[0]
    assert len(make_tokenizer(TEXTS).encode(text)) == len(text) > len(make_tokenizer(TEXTS, 300).encode(text))


@pytest.mark.parametrize(
    "data",
    [
        None, [], {}, {"tokens": "os"}, {"tokens": "characters", "characters": 3},
        {"tokens": "characters", "characters": "aa"}, {"tokens": "byte pairs", "vocabulary": "{}"},
    ],
)  # fmt: skip
def test_a_description_from_elsewhere_is_checked(data: Any) -> None:
    with pytest.raises(ConfigError, match="tokenizer: expected"):
        tokenizer_from_json(data)
