"""Calibration of a watcher: the threshold that keeps a budget of false alarms, and a classifier of sentiments.

Both come from sentences that the agent was not trained on: calm streams of validation sentences, and their labels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from seqel.agents.agent import Agent, AgentState
from seqel.agents.artifact import weights_checksum
from seqel.errors import ConfigError
from seqel.spaces import FlatObservation
from seqel.tasks.opinion.metrics import threshold_for
from seqel.tasks.opinion.monitoring import ALERT, WAIT, OpinionMonitoring
from seqel.tasks.opinion.sentences import SENTIMENTS, Opinions, Split
from seqel.tasks.opinion.stream import Setting, Stream, draw_stream, part_of
from seqel.texts.logistic_regression import LogisticRegression, fit_logistic_regression

__all__ = [
    "Calibration", "calibrate", "companies_of", "numbers_of", "parse_budget", "sentiments_of", "vectors_of",
    "weights_of",
]  # fmt: skip

HOURS = {"hour": 1.0, "day": 24.0, "week": 168.0, "month": 720.0, "year": 8_760.0}
STREAM = 144.0  # hours of a calm stream
EXPECTED = 20  # false alarms in the calm streams, so that the threshold is known to about a fifth of the budget
MOST = 800  # streams

_BUDGET = re.compile(
    r"\s*(\d+(?:\.\d+)?)\s*(?:false\s+alarms?)?\s*(?:per|in|/)\s*(?:(\d+(?:\.\d+)?)\s*)?(hour|day|week|month|year)s?\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured for one agent."""

    threshold: float  # of Q(alert) - Q(wait), for companies of a group
    alone: float  # likewise, for companies without one
    budget: float  # hours between two false alarms about one company
    sentiment: LogisticRegression
    agent: str  # the CRC-32 of its weights


def parse_budget(text: str) -> float:
    """Return the hours between two false alarms about one company: "1 false alarm per week" -> 168.

    Raises ConfigError if it is not understood.
    """
    found = _BUDGET.fullmatch(text)
    count = float(found[1]) if found else 0.0
    hours = HOURS[found[3].lower()] * float(found[2] or 1.0) if found else 0.0
    if count <= 0.0 or hours <= 0.0:
        raise ConfigError(
            f'budget: expected a number of false alarms about one company, such as "1 false alarm per week" or '
            f'"2 per 6 months", got {text!r}'
        )
    return hours / count


def companies_of(agent: Agent) -> int:
    """Return the number of companies in the streams that an agent was trained on.

    Raises ConfigError if it was not trained on opinion monitoring.
    """
    leaves = {leaf.path: leaf for leaf in agent.observation_spec.leaves}
    if set(leaves) != {"text", "company", "gap", "same", "alerted"} or agent.action_spec.sizes != (2,):
        raise ConfigError(
            f"watch: expected an agent that was trained on seqel/OpinionMonitoring-v0, got {agent!r:.300}"
        )
    return leaves["company"].sizes[0]


def numbers_of(
    agent: Agent, opinions: Opinions, split: Split, setting: Setting, streams: Sequence[Stream], hours: float
) -> list[NDArray[np.float64]]:
    """Return Q(alert) - Q(wait) after each message of each stream, if the agent only ever waits. Sentences are drawn."""
    envs = [OpinionMonitoring(opinions, split, setting, hours=hours) for _ in streams]
    seen = [
        env.reset(seed=place, options={"stream": one})[0]
        for place, (env, one) in enumerate(zip(envs, streams, strict=True))
    ]
    found = [np.zeros(len(one.time)) for one in streams]
    state: AgentState | None = None
    for step in range(max(len(one.time) for one in streams)):
        going = [place for place, one in enumerate(streams) if step < len(one.time)]
        batch = {name: [seen[place][name] for place in going] for name in seen[0]}
        stacked = {name: values if name == "text" else np.stack(values) for name, values in batch.items()}
        rows = None if state is None else np.array(going)
        decision, state = agent.act(
            stacked, state, reward=0.0, previous_action=None if step == 0 else np.full(len(going), WAIT), rows=rows
        )
        for row, place in enumerate(going):
            found[place][step] = decision.q[row, ALERT] - decision.q[row, WAIT]
            seen[place] = envs[place].step(WAIT)[0]
    return found


def sentiments_of(agent: Agent, opinions: Opinions) -> LogisticRegression:
    """Fit a reader of sentiments on the training sentences."""

    def pairs(split: Split) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        texts, labels = opinions.labelled(split)
        return vectors_of(agent, blank(texts)), labels

    return fit_logistic_regression(SENTIMENTS, pairs("train"), pairs("validation"))


def vectors_of(agent: Agent, observation: dict[str, Any] | FlatObservation) -> NDArray[np.float32]:
    """Return what the agent's text encoder makes of the one text leaf of a batch of N observations, (N, W).

    One that is flat already stays as it is: its texts are not read again.

    Of a frozen encoder these are its vectors; of another, what the network makes of the text.

    Raises ConfigError if the agent does not observe exactly one text.
    """
    spec, network = agent.observation_spec, agent.network
    paths = [leaf.path for leaf in spec.leaves if leaf.kind == "text"]
    if len(paths) != 1:
        raise ConfigError(f"expected an agent that observes one text, got {paths or 'none'}")
    if not isinstance(observation, FlatObservation):
        observation = spec.flatten(observation, len(observation[paths[0]]))
    leaf = observation[paths[0]]
    if leaf.dtype == np.float32 and leaf.ndim == 2:
        return leaf
    encoder = network.tokens.encoders[network.tokens.paths.index(paths[0])]
    with torch.inference_mode():
        found: NDArray[np.float32] = encoder(torch.from_numpy(leaf).to(agent.device)).float().cpu().numpy()
    return found


def blank(texts: Sequence[str]) -> dict[str, Any]:
    """Return texts as observations of which only the text matters."""
    zero = np.zeros((len(texts), 1), np.float32)
    return {
        "text": list(texts), "company": np.zeros(len(texts), np.int64), "gap": zero, "same": zero, "alerted": zero,
    }  # fmt: skip


def weights_of(agent: Agent) -> str:
    """Return the CRC-32 of an agent's weights."""
    return weights_checksum(agent.network)


def calibrate(agent: Agent, opinions: Opinions, setting: Setting, budget: float, seed: int = 0) -> Calibration:
    """Set the thresholds on calm streams of validation sentences, and fit the classifier of sentiments.

    A company without a group is read alone, and the agent then observes less. Its threshold is set on the same streams, split
    into their companies.

    budget: hours between two false alarms about one company.

    Raises ConfigError if so few false alarms cannot be measured, or the agent has learned nothing.
    """
    streams = max(4, math.ceil(EXPECTED * budget / (STREAM * setting.companies)))
    if streams > MOST:
        most = MOST * STREAM * setting.companies / EXPECTED
        raise ConfigError(
            f"budget: expected at least one false alarm in {most:,.0f} hours about one company, which {MOST} streams "
            f"can measure, got one in {budget:,.0f}"
        )
    rng = np.random.default_rng((seed, 41))
    calm = [draw_stream(rng, setting, STREAM, np.inf) for _ in range(streams)]
    found = numbers_of(agent, opinions, "validation", setting, calm, STREAM)
    if all(np.ptp(one) == 0.0 for one in found if len(one)):
        raise ConfigError(
            "watch: expected an agent whose values depend on the messages, got the same difference for all of them: train it "
            "for longer, or use the run's last weights (agent-last)"
        )
    threshold = alone = threshold_for(budget, calm, found, STREAM)
    if setting.companies > 1:
        parts = (part_of(stream, [company])[1] for stream in calm for company in range(setting.companies))
        single = [part for part in parts if len(part.time)]
        found = numbers_of(agent, opinions, "validation", setting, single, STREAM)
        alone = threshold_for(budget, single, found, STREAM)
    return Calibration(threshold, alone, budget, sentiments_of(agent, opinions), weights_of(agent))
