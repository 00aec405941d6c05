from __future__ import annotations

import math

import numpy as np
import pytest

from seqel.errors import DataError
from seqel.language.episodes import Sample, as_dataset, reward_of
from seqel.language.tokenizer import BEGIN, END, Characters

TOKENIZER = Characters("abc")  # a = 2, b = 3, c = 4


def columns(*samples: Sample, length: int = 20) -> dict[str, list[int]]:
    slots = as_dataset(samples, TOKENIZER, length).buffer.slots.columns
    return {name: np.asarray(slots[name]).reshape(len(slots[name]), -1)[:, 0].tolist() for name in slots}


def test_the_prompt_is_history_and_the_rest_is_learned() -> None:
    found = columns(Sample("ab", "ca", 2.5))
    assert found["observation/token"] == [BEGIN, 2, 3, 4, 2, END]
    assert found["action"][:5] == [2, 3, 4, 2, END]
    assert found["by_agent"][:5] == [False, False, True, True, True]
    assert found["reward"][:5] == [0, 0, 0, 0, 2.5]


def test_without_a_prompt_every_token_is_the_agents() -> None:
    assert columns(Sample("", "ab"))["by_agent"][:3] == [True, True, True]


def test_a_text_ends_at_the_largest_length_at_the_latest() -> None:
    dataset = as_dataset([Sample("a", "bcabc"), Sample("ab", "b"), Sample("a", "bc", tokens=[3, 4])], TOKENIZER, 3)
    assert dataset.buffer.table.numbers[:, dataset.buffer.table.TERMINATED].tolist() == [1, 1, 1]
    assert dataset.buffer.lengths.tolist() == [1 + 3, 2 + 2, 1 + 2]


def test_what_another_policy_began_is_not_learned() -> None:
    found = columns(Sample("a", "bca", 1.0, tokens=[3, 4, 2, END], given=2))
    assert found["action"][:5] == [2, 3, 4, 2, END]
    assert found["by_agent"][:5] == [False, False, False, True, True]


def test_nothing_written_is_no_episode() -> None:
    assert as_dataset([Sample("abc", "a"), Sample("abcabc", "")], TOKENIZER, 5).buffer.episodes == 1
    with pytest.raises(DataError, match="at least one text that is not empty"):
        as_dataset([Sample("abc", "")], TOKENIZER, 5)


@pytest.mark.parametrize("bad", [math.nan, math.inf, None, "x"])
def test_a_reward_that_is_no_number_is_refused(bad: object) -> None:
    with pytest.raises(DataError, match="the reward function"):
        reward_of(lambda text: bad, "", "text")  # type: ignore[arg-type, return-value]


def test_an_error_of_the_reward_function_names_the_text() -> None:
    with pytest.raises(DataError, match="raised ZeroDivisionError for 'some text'"):
        reward_of(lambda text: 1 / 0, "some", " text")


def test_a_reward_of_pairs_gets_both_parts() -> None:
    assert reward_of(lambda prompt, text: len(prompt) - len(text), "abc", "a", pairs=True) == 2.0
    assert reward_of(len, "abc", "a") == 4.0
