"""Word occlusion reads the text without the word, and changes nothing else."""

from __future__ import annotations

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

from seqel.errors import ConfigError
from seqel.explanation.question import Question
from seqel.explanation.trace import EpisodeTrace, decision_scores
from seqel.explanation.words import split_words, word_occlusion
from seqel.spaces import ObservationSpec
from seqel.spaces.text_readers import hash_text
from support_explanation import make_agent

SPEC = ObservationSpec.from_space(gym.spaces.Dict({"said": gym.spaces.Text(99), "age": gym.spaces.Box(-9, 9, (2,))}))
TEXTS = ["I lost my card", "in Rome", "", "银行 card"]


def make_trace(texts: list[str]) -> EpisodeTrace:
    rng = np.random.default_rng(0)
    return EpisodeTrace(
        {"age": rng.normal(size=(4, 2)).astype(np.float32), "said": np.stack([hash_text(text) for text in texts])},
        np.array([0, 1, 2]), np.zeros(3, np.float32), np.zeros((0, 0), np.float32), None,
    )  # fmt: skip


def test_each_word_is_left_out_once() -> None:
    agent = make_agent(spec=SPEC)
    trace = make_trace(TEXTS)
    found = word_occlusion(agent, trace, "said", dict(enumerate(TEXTS)), range(4), Question(1, 0))
    assert [one.step for one in found] == [0, 1, 2, 3]
    now = decision_scores(agent, trace)
    for one, text in zip(found, TEXTS, strict=True):
        assert one.change.shape == (4, len(one.spans))
        for place, (begin, end) in enumerate(one.spans):
            said = trace.observation["said"].copy()
            said[one.step] = hash_text(text[:begin] + text[end:])
            other = decision_scores(agent, replace(trace, observation={**trace.observation, "said": said}))
            expected = (now[:, 1] - now[:, 0]) - (other[:, 1] - other[:, 0])
            np.testing.assert_allclose(one.change[:, place], expected, atol=1e-5)
            assert (one.change[: one.step] == 0.0).all()


def test_words_are_split_at_spaces_and_between_chinese_characters() -> None:
    text = " lost  my card. 银行x"
    assert [text[begin:end] for begin, end in split_words(text)] == ["lost", "my", "card.", "银", "行", "x"]
    assert split_words("") == []


def test_mistakes_say_what_is_expected() -> None:
    agent = make_agent(spec=SPEC)
    trace = make_trace(TEXTS)
    with pytest.raises(ConfigError, match=r"one of \['said'\], got 'age'"):
        word_occlusion(agent, trace, "age", {0: "x"})
    with pytest.raises(ConfigError, match="the text that the trace has at step 1, got 'in Paris'"):
        word_occlusion(agent, trace, "said", {1: "in Paris"})
    assert word_occlusion(agent, trace, "said", {2: ""})[0].change.shape == (3, 0)
