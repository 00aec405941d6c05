"""Recorded streams in which a rule raised the alerts, for training: millions of messages are recorded in minutes.

An agent's actions do not influence which messages arrive. It therefore learns as much from recorded streams as from its own,
and thirty times as many are simulated in the same time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from seqel.errors import ConfigError
from seqel.replay.in_memory_dataset import InMemoryDataset
from seqel.spaces import ActionSpec, ObservationSpec
from seqel.spaces.text_readers import TextReader
from seqel.tasks.opinion.detectors import likelihood_ratios
from seqel.tasks.opinion.monitoring import OpinionMonitoring
from seqel.types import Episode

__all__ = ["record_streams"]

SIZE = 0.45  # of a crisis, as the rule assumes
THRESHOLDS = (1.0, 6.0)  # of the rule, drawn for each stream
EAGER = (0.02, 0.1, 0.5)  # probability of an alert far above the threshold, drawn for each stream
RARELY = 0.003  # probability of an alert far below
# Share of the streams in which the rule is silent and only these rare alerts are given. Detectors are compared while no one
# answers their alerts; where each crisis in the data was soon followed by an alert, an agent had not learned what a long
# crisis without one says about related companies.
SILENT = 0.5


def record_streams(env: OpinionMonitoring, reader: TextReader, streams: int, seed: int = 0) -> InMemoryDataset:
    """Play streams and return them as episodes, with texts as `reader` reads them.

    The rule is Page's CUSUM on the log-likelihood ratios of the messages (`seqel.tasks.opinion.detectors`). It raises an
    alert at random, with a probability that rises with the distance of its statistic above a threshold. The threshold and
    this probability differ between streams, so alerts are early in some and late in others, and right or wrong. In half of
    the streams the rule is silent, and alerts are rare and random.

    reader: of the log-probabilities of sentiments (`seqel.texts.classes.fit_classes`), because the rule needs them.

    Raises ConfigError if it reads texts in another way, or `streams` is below 2 (one is held out from training).
    """
    if streams < 2:
        raise ConfigError(f"streams: expected at least 2, got {streams}")
    texts, labels = env.labelled_texts().train
    if reader.dtype != "float32" or reader.shape != (int(labels.max()) + 1,):
        raise ConfigError(f"reader: expected log-probabilities of {labels.max() + 1} sentiments, got {reader.reads}")
    probabilities, prior = np.exp(reader.read(texts).astype(np.float64)), np.bincount(labels) / len(labels)
    evidence = dict(zip(texts, likelihood_ratios(probabilities, prior, SIZE).tolist(), strict=True))
    spec = ObservationSpec.from_space(env.observation_space).with_text_reader(reader)
    rng = np.random.default_rng((seed, 51))
    episodes = [_play(env, evidence, spec, rng) for _ in range(streams)]
    return InMemoryDataset.of(episodes, spec, ActionSpec.from_space(env.action_space))


def _play(
    env: OpinionMonitoring, evidence: dict[str, float], spec: ObservationSpec, rng: np.random.Generator
) -> Episode:
    """Play a stream with the rule."""
    level, threshold, eager = np.zeros(env.setting.companies), rng.uniform(*THRESHOLDS), rng.choice(EAGER)
    if rng.random() < SILENT:
        eager = 0.0
    seen, _ = env.reset(seed=int(rng.integers(1 << 31)))
    observations, actions, rewards, over = [seen], [], [], False
    while not over:
        company = int(seen["company"])
        level[company] = max(0.0, level[company] + evidence[seen["text"]])
        chance = max(RARELY, eager / (1.0 + np.exp(threshold - level[company])))
        actions.append(int(rng.random() < chance))
        seen, reward, over, _, _ = env.step(actions[-1])
        observations.append(seen)
        rewards.append(reward)
    columns: dict[str, list[Any]] = {name: [one[name] for one in observations] for name in seen}
    flat = dict(spec.flatten(columns, len(observations)))
    return Episode(flat, np.array(actions)[:, None], np.array(rewards, np.float32), terminated=True)
