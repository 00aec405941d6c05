"""Blocked phrases: found whatever their form, never written, and nothing else changes."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seqel.agents.agent import Agent
from seqel.errors import ConfigError, StorageError
from seqel.language.blocking import BlockedPhrases, Guard, penalised, read_phrases
from seqel.language.decoding import write
from seqel.language.episodes import text_spaces
from seqel.language.tokenizer import END, BytePairs, Characters, Tokenizer
from seqel.networks.config import NetworkConfig
from seqel.networks.qnetwork import QNetwork


@pytest.mark.parametrize(
    ("phrase", "text", "count"),
    [
        ("art", "start art, Art! ART arty (art)", 4),
        ("kill him", "kill\n  him; kill himself", 1),
        ("damn", "ｄａｍｎ da\u00admn d\u200bamn", 3),  # full-width, soft hyphen, zero-width space
        ("坏话", "他说坏话了", 1),
        ("c++", "c++ and c+++", 2),
        ("$%", "a$%b", 1),
        ("straße", "STRASSE", 1),
        ("a_b", "xa_b a_b", 1),
        ("kill*", "killing kill skill", 2),
        ("*", "a * b", 1),
    ],
)
def test_phrases_are_found(phrase: str, text: str, count: int) -> None:
    assert BlockedPhrases([phrase]).count(text) == count


def test_a_phrase_at_the_end_counts_once_nothing_can_join_it() -> None:
    blocked = BlockedPhrases(["art", "坏"])
    assert blocked.places("my art", complete=True) == [(3, 6)]
    assert blocked.places("my art", complete=False) == []  # "arty" may follow
    assert blocked.places("my art.", complete=False) == [(3, 6)]
    assert blocked.places("我坏", complete=False) == [(1, 2)]
    assert BlockedPhrases(["art*"]).places("my art", complete=False) == [(3, 6)]


def test_a_shorter_phrase_counts_inside_a_longer_one_that_is_not_complete() -> None:
    assert BlockedPhrases(["kill him", "kill"]).places("kill him", complete=False) == [(0, 4)]


@pytest.mark.parametrize("phrases", [[], [""], ["a", "  "], ["\u200b"]])
def test_nothing_to_block_is_refused(phrases: list[str]) -> None:
    with pytest.raises(ConfigError, match="at least one"):
        BlockedPhrases(phrases)


def test_phrases_are_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "phrases.txt"
    file.write_text("\ufeff# words\nbad\n\n  very bad \n", encoding="utf-8")
    assert read_phrases(file).phrases == ("bad", "very bad")
    file.write_text("# nothing\n")
    with pytest.raises(ConfigError, match="at least one line"):
        read_phrases(file)
    with pytest.raises(StorageError, match="cannot read"):
        read_phrases(tmp_path / "none.txt")
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StorageError, match="cannot read"):
        read_phrases(file)


def test_a_penalty_by_hand() -> None:
    reward = penalised(lambda text: float(len(text)), BlockedPhrases(["bad"]), 10.0)
    assert reward("bad, bad dog") == 12.0 - 20.0
    pair = penalised(lambda prompt, text: 1.0, BlockedPhrases(["bad"]), 0.5)
    assert pair("bad", "good") == 1.0
    assert pair("good", "bad") == 0.5
    with pytest.raises(ConfigError, match="penalty"):
        penalised(pair, BlockedPhrases(["bad"]), -1.0)


# -- while texts are written -------------------------------------------------------------------------------------------


def agent(size: int) -> Agent:
    torch.manual_seed(0)
    config = NetworkConfig(
        width=16, heads=2, context=80, policy_head="auxiliary", previous_action=False, previous_reward=False
    )
    network = QNetwork(config, *text_spaces(size))
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
        bias = network.get_parameter("policy.linear.bias")
        bias[END] -= 3.0  # few texts end early
        bias[size - 1] -= 30.0  # the unknown character
    return Agent(network)


LETTERS = Characters("ab ")
PAIRS = BytePairs.of(["aa ab ba bb 坏话 好话 坏 好"] * 20, 300)


def texts(tokenizer: Tokenizer, blocked: list[str] | None, prompts: list[str], **options: Any) -> list[str]:
    found = write(
        agent(tokenizer.size), [tokenizer.encode(prompt) for prompt in prompts], tokenizer,
        rng=np.random.default_rng(0), blocked=None if blocked is None else BlockedPhrases(blocked), **options,
    )  # fmt: skip
    return [tokenizer.decode(one.tokens) for one in found]


@pytest.mark.parametrize("blocked", [["ab"], ["a", "bb"], ["ab a", "b"]])
@pytest.mark.parametrize("temperature", [0.0, 1.0, 3.0])
def test_no_blocked_phrase_is_written(blocked: list[str], temperature: float) -> None:
    """Judged by splitting into words, another way than the filter's."""
    prompts = ["", "a", "ab", "b a"] * 12
    options = {"limit": 60, "temperature": temperature}

    def words(text: str) -> list[str]:
        return text.split(" ")

    def bad(prompt: str, text: str) -> int:
        given, written = len(words(prompt)), words(prompt + text)
        found = 0
        for phrase in blocked:
            size = len(words(phrase))
            for start in range(len(written) - size + 1):
                inside_prompt = start + size < given or (start + size == given and (not text or text[0] == " "))
                found += written[start : start + size] == words(phrase) and not inside_prompt
        return found

    guarded = texts(LETTERS, blocked, prompts, **options)
    assert sum(bad(prompt, text) for prompt, text in zip(prompts, guarded, strict=True)) == 0
    if temperature == 1.0:
        free = texts(LETTERS, None, prompts, **options)
        assert sum(bad(prompt, text) for prompt, text in zip(prompts, free, strict=True)) > 10
        assert sum(map(len, guarded)) > 200


def test_byte_pairs_and_scripts_without_spaces() -> None:
    blocked = BlockedPhrases(["坏", "ab"])
    guarded = texts(PAIRS, ["坏", "ab"], [""] * 64, limit=60)
    assert not any(blocked.count(text) for text in guarded)
    assert sum(blocked.count(text) for text in texts(PAIRS, None, [""] * 64, limit=60)) > 5


def test_what_blocks_nothing_changes_nothing() -> None:
    prompts = ["", "a b"] * 8
    assert texts(LETTERS, ["zebra"], prompts, limit=40) == texts(LETTERS, None, prompts, limit=40)


def test_what_the_prompt_says_does_not_end_the_text() -> None:
    long = "ab " * 60  # longer than the guard looks back
    assert all(len(text) > 30 for text in texts(LETTERS, ["ab"], ["ab ", long, "ab"], limit=60))


def test_a_text_in_which_nothing_may_follow_ends() -> None:
    everything = ["a", "b", *map("".join, itertools.product("ab", repeat=2)), LETTERS.UNKNOWN]
    found = texts(LETTERS, everything, [""] * 20, limit=2)
    assert all(BlockedPhrases(everything).count(text) == 0 for text in found)
    assert "".join(found).strip() == ""


def test_a_guard_that_forgets_the_end_of_the_text_would_be_noticed() -> None:
    guard = Guard(BlockedPhrases(["ab"]), LETTERS, [[]])
    tokens = LETTERS.encode("b ab")
    assert guard.allows(0, tokens, complete=False)
    assert not guard.allows(0, tokens, complete=True)
    assert guard.shortened(0, tokens) == LETTERS.encode("b a")
