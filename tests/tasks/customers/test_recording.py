"""Recorded shifts: what is in them, and that an agent learns more from them than the rule knew."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seqel
from seqel.errors import ConfigError
from seqel.tasks.customers import CustomerService, Shortlist
from seqel.tasks.customers.players import Evidence, Lookahead, play
from seqel.tasks.customers.recording import record_shifts
from support_customers import classify, corpus

SETTINGS: dict[str, Any] = {
    "network.width": 32, "network.layers": 1, "network.heads": 2, "network.context": 16, "objective.discount": 1.0,
    "objective.lambda_": 0.0, "objective.cql_alpha": 0.0, "replay.batch_tokens": 1_024, "learner.learning_rate": 3e-3,
    "learner.compile": "off", "validation.every": 200, "threads": 1, "device": "cpu", "checkpoint_every": 0,
}  # fmt: skip


def shortlist(split: Any, setting: Any = "full", player: Any = Evidence) -> Shortlist:
    return Shortlist(CustomerService(corpus(), split, setting=setting), partial(player, classifier=classify))


def test_what_is_recorded() -> None:
    data, mean = record_shifts(shortlist("train"), 40)
    again, other = record_shifts(shortlist("train"), 40), record_shifts(shortlist("train"), 40, seed=1)
    assert again[1] == mean != other[1]
    columns, buffer = data.buffer.slots.columns, data.buffer
    assert buffer.episodes == 40 and set(columns["action"].ravel().tolist()) == set(range(6))
    done = columns["observation/outcome"].ravel() > 0
    assert done.sum() == 40 * 8
    assert buffer.returns().mean() == pytest.approx(0.0, abs=1e-5)  # centred
    uncentred = buffer.returns() + 8 * mean
    assert uncentred.max() <= 8.0 + 1e-5 and uncentred.mean() == pytest.approx(8 * mean, abs=1e-4)
    for step in np.flatnonzero(done)[:20]:
        reward = columns["reward"][step - 1] + mean
        if columns["observation/outcome"][step, 0] == 1:  # "right"
            assert reward == pytest.approx(1.0, abs=1e-5)


def test_rewards_beyond_what_the_lookahead_expected() -> None:
    data, mean = record_shifts(shortlist("train", player=Lookahead), 40)
    columns, buffer = data.buffer.slots.columns, data.buffer
    done, best = columns["observation/outcome"].ravel() > 0, columns["observation/best"].ravel()
    first = np.zeros(len(done), bool)  # where a customer speaks first
    total, at = 0.0, 0
    for length in buffer.lengths:
        first[at] = True
        first[at + 1 : at + length] = done[at + 1 : at + length]
        total += best[at : at + length][first[at : at + length]].sum()
        at += int(length) + 1
    assert first.sum() == 40 * 8
    # what is left of a customer's rewards is their sum minus the expectation at their first sentence
    assert buffer.returns().sum() == pytest.approx(40 * 8 * mean - total, abs=1e-2)
    worst = columns["observation/expected"].min(axis=1)
    assert set(columns["action"].ravel().tolist()) == set(range(6)) and worst.min() == -1.0


def test_shifts_of_two_environments_alternate() -> None:
    splits = [shortlist("train"), shortlist("validation")]
    both, _ = record_shifts(splits, 6)
    texts = [set(env.player.said) for env in splits]
    assert all("train" in one for one in texts[0]) and all("validation" in one for one in texts[1])
    assert both.buffer.episodes == 6 and min(map(len, texts)) > 12
    with pytest.raises(ConfigError, match="envs: expected at least one environment, got none"):
        record_shifts([], 6)


def test_one_shift_is_refused() -> None:
    with pytest.raises(ConfigError, match="shifts: expected at least 2, got 1"):
        record_shifts(shortlist("train"), 1)


def test_an_agent_learns_more_than_the_rule_knew(tmp_path: Path) -> None:
    patient = {"unclear": 0.9, "confused": 0.9, "impatient": 0.0, "changes": 0.0, "out_of_scope": 0.0}
    data, mean = record_shifts(shortlist("train", patient), 600)
    agent = seqel.train(data=data, steps=200, preset="offline-cql", settings=SETTINGS, out=tmp_path, progress=False)
    found = seqel.evaluate(agent, lambda: shortlist("test", patient), 100, seed=5)
    learned = float(np.mean(found.returns)) / 8
    env = shortlist("test", patient).service
    answered = play(env, Evidence(env, classify, -9.0), 100, seed=5).reward
    print(f"recorded {mean:.3f}, what is worth most at once {answered:.3f}, learned {learned:.3f}")
    assert learned > max(mean, answered) + 0.2
