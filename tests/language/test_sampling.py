from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from seqel.errors import CheckpointError
from seqel.language.episodes import Sample, as_dataset
from seqel.language.generation import generate, tokenizer_of
from seqel.language.sampling import Sampling, by_token, compared, returns_of, stored_samples
from support_text import agent

WRITER = agent()
TOKENIZER = tokenizer_of(WRITER)


def sampling(count: int = 40, group: int = 4) -> Sampling:
    return Sampling(["a", "bc", "cab"], TOKENIZER, lambda text: float(text.count("a")), False, 6, count, group, 0)


def test_rewards_less_the_mean_of_their_group() -> None:
    samples = [Sample("a", text, reward) for text, reward in (("x", 1.0), ("y", 3.0), ("x", 5.0), ("y", 5.0))]
    assert [one.reward for one in compared(samples, 2)] == [-1.0, 1.0, 0.0, 0.0]
    assert compared(samples, 1) == samples


def test_groups_have_one_prompt_and_the_tokens_are_those_that_were_drawn() -> None:
    found = sampling().texts(WRITER, 1)
    assert len(found) == 40
    for start in range(0, 40, 4):
        assert len({one.prompt for one in found[start : start + 4]}) == 1
    for one in found:
        assert one.tokens is not None and 1 <= len(one.tokens) <= 6 and one.given == 0
        assert one.text == TOKENIZER.decode(one.tokens)
        assert one.reward == (one.prompt + one.text).count("a")


def test_a_low_temperature_samples_the_most_probable_texts() -> None:
    cold = replace(sampling(), temperature=1e-6).texts(WRITER, 1)
    prompts = ["a", "bc", "cab"]
    greedy = dict(zip(prompts, generate(WRITER, prompts, dial=0.0, temperature=0.0, length=6), strict=True))
    assert all(one.text == greedy[one.prompt][0] for one in cold)
    assert [one.text for one in cold] != [one.text for one in sampling().texts(WRITER, 1)]


def test_in_later_rounds_the_base_policy_ends_what_was_begun() -> None:
    found = sampling(200).texts(WRITER, 2)
    given = [one.given for one in found]
    assert max(given) > 1 and min(given) == 0
    for one in found:
        assert one.tokens is not None and one.given < len(one.tokens) <= 6
        assert TOKENIZER.end not in one.tokens[:-1]


def test_samples_are_kept_and_a_damaged_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "samples-1.jsonl"
    found = stored_samples(path, WRITER, sampling(), 1)
    assert stored_samples(path, WRITER, sampling(), 1) == found == sampling().texts(WRITER, 1)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="damaged"):
        stored_samples(path, WRITER, sampling(), 1)


def test_rewards_by_token_sum_to_the_reward() -> None:
    chosen = sampling()
    sample = Sample("a", "bab", 2.0, tokens=[3, 2, 3, TOKENIZER.end])
    one = by_token(sample, chosen)  # the number of a: 1 in the prompt, and one more after the second token
    assert one.gains == [1.0, 1.0, 0.0, 0.0] and returns_of(one).tolist() == [2.0, 1.0, 0.0, 0.0]
    less, _ = compared([one, replace(one, reward=5.0)], 2)
    assert less.gains == [1.0, 1.0, 0.0, -3.5] and less.reward == -1.5
    assert returns_of(sample).tolist() == [2.0]
    columns = as_dataset([one], TOKENIZER, 6).buffer.slots.columns
    assert np.asarray(columns["reward"])[:5].tolist() == [0.0, 1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("number", [1, 2])
def test_the_progress_of_writing_ends_at_the_whole(partial: bool, number: int) -> None:
    shares: list[float] = []
    chosen = replace(sampling(8), partial=partial)
    told = chosen.texts(WRITER, number, lambda share, note: shares.append(share))
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(shares) >= number
    assert told == chosen.texts(WRITER, number)  # and it changes nothing
