"""Recorded streams: where the rule raises alerts, what is refused, and that an agent learns from them to find crises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import seqel
from seqel.errors import ConfigError
from seqel.tasks.opinion import TEXTBOOK, OpinionMonitoring, draw_stream
from seqel.tasks.opinion.metrics import evaluate_alerts, threshold_for
from seqel.texts.classes import ClassReader, fit_classes
from seqel.texts.config import TextConfig
from seqel.texts.make import make_reader
from seqel.watching.calibration import numbers_of
from seqel.watching.recording import record_streams
from support_opinion import WORDS, opinions

SETTING = replace(TEXTBOOK, rate=2.0)


def first_word(texts: Sequence[str]) -> Any:
    return np.array([[text.startswith(word) for word in WORDS.values()] for text in texts], np.float32)


def environment(**changes: Any) -> OpinionMonitoring:
    return OpinionMonitoring(opinions(), "train", replace(SETTING, **changes), hours=48.0)


def reader() -> ClassReader:
    found = make_reader(TextConfig(encoder="callable"), embed=first_word)
    assert found is not None
    return fit_classes(found, environment().labelled_texts())


def test_the_rule_alerts_in_crises_and_rarely_elsewhere() -> None:
    def share(crises: float) -> float:
        data = record_streams(environment(crises=crises), reader(), 60, seed=1)
        return float(data.buffer.actions().mean())

    assert share(1.0) > 2.0 * share(0.0) > 0.0


def test_the_same_seed_records_the_same_streams() -> None:
    first, again, other = (record_streams(environment(), reader(), 3, seed=seed) for seed in (1, 1, 2))
    assert first.buffer.lengths.tolist() == again.buffer.lengths.tolist() != other.buffer.lengths.tolist()


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="streams: expected at least 2"):
        record_streams(environment(), reader(), 1)
    vectors = make_reader(TextConfig(encoder="callable"), embed=lambda texts: np.zeros((len(texts), 5)))
    assert vectors is not None
    with pytest.raises(ConfigError, match="expected log-probabilities of 3 sentiments"):
        record_streams(environment(), vectors, 2)


def test_an_agent_learns_to_find_crises(tmp_path: Any) -> None:
    """At one false alarm in 100 hours. Without learning, the latest message alone would decide, and far later."""
    settings = {
        "network.width": 32, "network.layers": 1, "network.heads": 2, "network.context": 64, "objective.discount": 0.0,
        "objective.cql_alpha": 0.0, "replay.batch_tokens": 512, "network.previous_reward": False, "threads": 1,
        "device": "cpu", "learner.compile": "off", "learner.learning_rate": 3e-3, "learner.warmup": 30,
    }  # fmt: skip
    data = record_streams(environment(crises=0.7), reader(), 300)
    agent = seqel.train(data=data, steps=400, settings=settings, out=tmp_path / "run", progress=False)
    rng = np.random.default_rng(3)
    calm = [draw_stream(rng, SETTING, 48.0, np.inf) for _ in range(60)]
    struck = [draw_stream(rng, SETTING, 48.0, 24.0) for _ in range(60)]

    def delay(found: Any) -> float:
        return evaluate_alerts(struck, found(struck), threshold_for(100.0, calm, found(calm), 48.0), 48.0).mean

    learned = delay(lambda some: numbers_of(agent, opinions(), "test", SETTING, some, 48.0))
    latest = delay(lambda some: [(one.sentiment == 0) + 0.01 * rng.random(len(one.time)) for one in some])
    assert learned < 0.5 * latest
