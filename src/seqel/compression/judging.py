"""Judges the versions of an agent: by paired greedy episodes, or by their decisions on held-out recorded episodes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch

from seqel.agents.agent import Agent
from seqel.compression.measuring import agreement, relative_drop
from seqel.compression.report import Variant
from seqel.compression.tape import Tape, decisions, record, recorded_tape
from seqel.environments.resolve import EnvMaker
from seqel.evaluation.rollout import evaluate
from seqel.losses.config import ObjectiveConfig
from seqel.replay.episode_buffer import EpisodeBuffer
from seqel.training.held_out import Sums

__all__ = ["Judge", "OnData", "OnEpisodes"]

HELD_OUT_STEPS = 50_000  # at most, of the held-out score


class Judge(ABC):
    """Fills in how well a version does."""

    metric: str  # what a drop is measured in
    tape: Tape
    episodes: int  # on which the drop is measured
    notes: list[str]

    @abstractmethod
    def fill(self, row: Variant, agent: Any) -> None:
        """Measure an `Agent` or an exported agent."""

    def _compare(self, row: Variant, agent: Any) -> None:
        found = decisions(agent, self.tape)
        if row.name == "full":
            self.reference = found
        row.agreement, drop = agreement(self.tape, found, self.reference)
        if self.metric == "agreement":
            row.drop = drop


class OnEpisodes(Judge):
    """Greedy episodes with the same seeds for every version; the drop is in mean return, over pairs of episodes."""

    metric = "return"

    def __init__(self, agent: Agent, make: EnvMaker, episodes: int, seed: int, decisions: int) -> None:
        self.make, self.episodes, self.seed = make, episodes, seed
        self.tape = record(agent, make, seed, decisions)
        self.notes = []

    def fill(self, row: Variant, agent: Any) -> None:
        """Play and compare. The full agent comes first."""
        result = evaluate(agent, self.make, self.episodes, self.seed)
        returns = np.array(result.returns)
        if row.name == "full":
            self.returns = returns
        row.mean, row.interval, row.success = result.mean, result.interval, result.success
        row.drop = relative_drop(self.returns, self.returns - returns)
        self._compare(row, agent)


class OnData(Judge):
    """Held-out recorded episodes; the drop is the share of decisions that differ from the full agent's."""

    metric = "agreement"

    def __init__(
        self, agent: Agent, held_out: EpisodeBuffer, objective: ObjectiveConfig | None, decisions: int
    ) -> None:
        self.held_out, self.objective = held_out, objective
        self.tape = recorded_tape(held_out, agent.action_spec, decisions)
        self.episodes = len({int(n) for step in self.tape for n in step.episode if n >= 0})
        self.notes = ["There is no environment: drops are shares of decisions, not of return."]

    def fill(self, row: Variant, agent: Any) -> None:
        """Compare decisions, and compute the held-out score where the network is at hand."""
        self._compare(row, agent)
        taken = np.stack([step.taken for step in self.tape])
        row.recorded = agreement(self.tape, decisions(agent, self.tape), taken)[0]
        if self.objective is not None and isinstance(agent, Agent):
            row.held_out = self._score(agent, self.objective)

    @torch.no_grad()
    def _score(self, agent: Agent, objective: ObjectiveConfig) -> float:
        network = agent.network
        sums, context = Sums(network, objective, self.held_out.lengths), network.config.context
        for batch in self.held_out.batches(window=2 * context, context=context, discount=objective.discount):
            batch = batch.to(agent.device)
            out = network(batch)
            sums.add(batch, out, out)
            if sums.steps >= HELD_OUT_STEPS:
                break
        return sums.result().mean
